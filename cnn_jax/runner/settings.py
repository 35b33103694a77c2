"""How a sweep is run; none of it changes a number."""

from typing import NamedTuple

from cnn_jax.config import ConfigError
from cnn_jax.train import devices
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
      progress: whether to draw progress bars.
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
    progress: bool = True
    command: str = ""
    place: int = 0
    signals: list[int] | None = None

    @property
    def layouts(self) -> list[Layout]:
        """One for each run at a time in this process; raises ConfigError."""
        if not self.seeds_in_parallel:
            return [devices.choose(self.parallel, self.devices, self.accumulate)]
        if self.workers > 1:
            raise ConfigError(
                f"--seeds_in_parallel is a run on each device, --workers={self.workers} is processes that share a CPU: "
                "leave one out"
            )
        return devices.one_each(self.parallel, self.devices)

    @property
    def layout(self) -> Layout:
        """What one run is spread over; raises ConfigError."""
        return self.layouts[self.place]
