"""Repeat a run's steps and compare them with what it recorded, bit for bit; nothing in its folder is touched.

    ./launch.sh verify --run=runs/train/NAME --steps=20               # its first steps
    ./launch.sh verify --run=runs/train/NAME --steps=20 --from=400    # those after a checkpoint that it keeps

EQUAL and exit status 0 where all losses are equal, and every evaluation and checkpoint among the steps; EQUAL TO
ROUNDING and 0 where devices or versions are others than the run's, which is said; else DIFFERENT and 1.
"""

from pathlib import Path
from typing import Any

from absl import flags

from cnn_jax import config, verify
from cnn_jax.runner import load_config_dataset
from cnn_jax.train import devices, record
from experiments.flags import data, launcher
from experiments.flags import devices as devices_flags

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(data)
flags.adopt_module_key_flags(devices_flags)
flags.DEFINE_string("run", None, "The run folder.", required=True)
flags.DEFINE_integer("steps", 20, "How many steps to repeat.", lower_bound=1)
flags.DEFINE_integer("from", 0, "The step of a checkpoint that the run keeps; 0 is its beginning.", lower_bound=0)


def main() -> int:
    run = record.read_run(launcher.expand_path(FLAGS.run))
    own, about = config.from_dict(run.config), run.manifest
    if "accumulate" not in about:
        raise record.RecordError(f"{run.folder / 'manifest.json'} is missing, or of a version without verify")
    data_dir = FLAGS.data_dir or about.get("data_dir")
    dataset = load_config_dataset(
        own, data_dir and str(Path(data_dir).expanduser()), False, bool(about["dataset"].get("left_out"))
    )
    layout = devices.make_layout(
        FLAGS.parallel if FLAGS["parallel"].present else about["parallel"],
        FLAGS.devices or min(len(about["devices"]), devices.local_device_count()),
        FLAGS.accumulate if FLAGS["accumulate"].present else about["accumulate"],
    )
    devices.check_batch(own, layout)
    start: Any = FLAGS["from"].value
    verdict = verify.verify(run, own, dataset, layout, FLAGS.steps, start, FLAGS.progress)
    print(verdict)
    return int(not verdict.passed)


if __name__ == "__main__":
    launcher.launch(main)
