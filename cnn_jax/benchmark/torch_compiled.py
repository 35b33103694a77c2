"""PyTorch's side with its network compiled by torch.compile, which on CPU wants a C++ compiler."""

from collections.abc import Callable, Mapping
from typing import Any

from torch._inductor import config
from torch._inductor.exc import InductorError

from cnn_jax.benchmark import torch_peer
from cnn_jax.benchmark.turns import BenchmarkError, Workload, serve


def set_up(workload: Workload) -> tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]:
    """As `torch_peer.set_up`; raises BenchmarkError where the network cannot be compiled."""
    config.freezing = True  # in inference weights are constants: packed once, batch norm folded into them
    try:
        return torch_peer.set_up(workload, compiled=True)
    except InductorError as error:
        reason = " ".join(str(error).split())[:160]
        raise BenchmarkError(f"torch.compile fails here: {reason}; --peer=torch does without") from error


if __name__ == "__main__":
    serve(set_up, Workload)
