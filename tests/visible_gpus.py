"""One of several processes: prints its number, how many there are, the GPUs it would take, and what the leader says."""

from jax._src.xla_bridge import CUDA_VISIBLE_DEVICES

from cnn_jax.train import processes

if __name__ == "__main__":
    processes.initialize()
    told = processes.run_on_leader(lambda: "the leader's")
    print(processes.index(), processes.count(), CUDA_VISIBLE_DEVICES.value, told)
    processes.shutdown(0)
