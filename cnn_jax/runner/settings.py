"""How a sweep is run; none of it changes a number."""

import importlib.util
from typing import NamedTuple

from cnn_jax.config import ConfigError
from cnn_jax.train import devices, processes
from cnn_jax.train.devices import Layout


class Settings(NamedTuple):
    """How a sweep is run; none of it changes a number.

    Attributes:
      data_dir: folder of prepared data sets; None is TFDS's own.
      download: whether a missing data set may be downloaded.
      skip_damaged: whether streamed images that cannot be decoded are left out.
      decode_workers: processes that decode streamed images; 0 is threads of this one.
      parallel: auto, jit or pmap.
      devices: how many devices of each process; None is all.
      accumulate: parts of a batch, one after another.
      checkpoint_seconds: seconds between a run's checkpoints.
      workers: runs at a time, each in a process of its own where there are several.
      seeds_in_parallel: whether there is a run on each device at a time, in place of one run over all of them.
      executor: local, this machine; or ray, the nodes of a Ray cluster, which share the workdir.
      ray_address: auto, local, ray://host:port or host:port.
      gpus_per_run: GPUs that Ray gives each run; 0 is a run on CPUs, a fraction a share of one.
      cpus_per_run: CPUs that Ray gives each run.
      hung_seconds: after how long without progress a run in a process of its own counts as hung.
      lock_seconds: how long to wait for a run folder that another process holds.
      progress: whether to draw progress.
      command: what the user typed, for the manifests.
      place: with `seeds_in_parallel`, which of the devices is meant, from 0.
      signals: where the signals that arrive are put; None is for `loop.fit` to receive them itself.
    """

    data_dir: str | None = None
    download: bool = False
    skip_damaged: bool = False
    decode_workers: int = 0
    parallel: str = "auto"
    devices: int | None = None
    accumulate: int = 1
    checkpoint_seconds: float = 60.0
    workers: int = 1
    seeds_in_parallel: bool = False
    executor: str = "local"
    ray_address: str = "auto"
    gpus_per_run: float = 0.0
    cpus_per_run: float = 1.0
    hung_seconds: float = 1800.0
    lock_seconds: float = 0.0
    progress: bool = True
    command: str = ""
    place: int = 0
    signals: list[int] | None = None

    @property
    def layouts(self) -> list[Layout]:
        """One for each run at a time in this process; raises ConfigError."""
        self.check()
        if not self.seeds_in_parallel:
            return [devices.make_layout(self.parallel, self.devices, self.accumulate)]
        return devices.single_device_layouts(self.parallel, self.devices)

    @property
    def layout(self) -> Layout:
        """What one run is spread over; raises ConfigError."""
        return self.layouts[self.place]

    def check(self) -> None:
        """Raises ConfigError where two ways of running exclude each other, or Ray is not there."""
        if self.seeds_in_parallel and self.workers > 1:
            raise ConfigError(
                f"--seeds_in_parallel is a run on each device, --workers={self.workers} is processes that share a CPU: "
                "leave one out"
            )
        ways = {
            "--executor=ray": self.executor == "ray",
            f"--workers={self.workers}": self.workers > 1,
            "--seeds_in_parallel": self.seeds_in_parallel,
        }
        several = [way for way, taken in ways.items() if taken]
        if self.executor == "ray" and len(several) > 1:
            raise ConfigError(
                f"--executor=ray decides itself how many runs there are at a time: leave {several[1]} out"
            )
        if several and processes.count() > 1:
            raise ConfigError(f"{several[0]} is many runs at a time, several processes are one run: leave one out")
        if self.gpus_per_run > 1 and self.gpus_per_run % 1:
            raise ConfigError(f"--gpus_per_run={self.gpus_per_run:g}: a whole number, or a fraction of one GPU")
        if self.executor == "ray" and importlib.util.find_spec("ray") is None:
            raise ConfigError("--executor=ray: Ray is not installed here; EXTRAS=ray ./launch.sh ... installs it")

    @property
    def devices_per_run(self) -> int:
        """How many devices a run has on a node of a Ray cluster."""
        return self.devices or max(1, int(self.gpus_per_run))
