"""What is here and what is missing: devices, versions, room, data sets with the command for each, what is slow.

    ./launch.sh doctor --data_dir=DIR

Seconds; the exit status is 1 where something that every study needs is broken.
"""

from absl import flags

from cnn_jax import doctor
from experiments.flags import data, launcher

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(data)


def main() -> int:
    broken = 0
    for finding in doctor.examine(FLAGS.data_dir):
        print(f"{finding.state:<8} {finding.subject:<18} {finding.message}", flush=True)
        broken += finding.state == doctor.BROKEN
    return int(bool(broken))


if __name__ == "__main__":
    launcher.launch(main)
