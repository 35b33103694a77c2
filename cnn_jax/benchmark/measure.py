"""One model measured: our step and a peer's in alternation, start-up with cold and warm caches, memory, work done.

The step is one of training, or of evaluation where the workload is inference.
"""

import contextlib
import platform
import tempfile
from typing import Any, NamedTuple

import numpy as np

from cnn_jax import models
from cnn_jax.benchmark.ours import make_config
from cnn_jax.benchmark.turns import SideProcess, Workload, time_alternately
from cnn_jax.benchmark.twins import require_same, require_twin

OURS = "cnn_jax.benchmark.ours"
PEERS = {"torch": "cnn_jax.benchmark.torch_peer", "torch_compiled": "cnn_jax.benchmark.torch_compiled"}
STEPS_PER_TURN = 2  # steps timed in a turn, after one that is not


class Measurement(NamedTuple):
    """Of one model.

    Attributes:
      model, parameters: its name and size.
      macs: multiply-accumulates of a forward pass of one image.
      images_per_second: median over the turns.
      step_seconds: median over the turns.
      spread: quarter of the turns below, and above, as images a second.
      input_share: of a step's time, the host's in giving out the batch; it works while the device does.
      compile_seconds: tracing, compiling and taking the first step, nothing cached.
      first_step_cold, first_step_warm: seconds from the start of the process to its first step taken, with caches empty
        (compiled programs, and on CPU the package's kernels) and filled.
      peak_bytes: most memory held.
      import_bytes: of it, what was held before anything was built: Python and its libraries.
      peak_share: of the machine's measured matrix-multiply rate, what the step's convolutions and products make of it,
        the backward pass counted as two forward ones.
      facts: of our side: platform, whether the package's kernels run, versions, that rate; `inference` of the workload.
      peer: the peer's name, images a second, both bytes; ratio of ours to its images a second, median and quartiles.
    """

    model: str
    parameters: int
    macs: int
    images_per_second: float
    step_seconds: float
    spread: tuple[float, float]
    input_share: float
    compile_seconds: float
    first_step_cold: float
    first_step_warm: float
    peak_bytes: int
    import_bytes: int
    peak_share: float
    facts: dict[str, Any]
    peer: dict[str, Any] | None


def title(workload: Workload) -> str:
    """What was measured on what: `batch 128, 32 px, width 8, float32, x86_64, 2 CPUs`, of other than its own width."""
    width = "" if workload.width is None else f"width {workload.width}, "
    sizes = f"batch {workload.batch_size}, {workload.image_size} px, {width}{workload.dtype}"
    sizes += ", inference" if workload.inference else ""
    return f"{sizes}, {platform.machine()}, {workload.threads} CPUs"


def check(workload: Workload, peer: str | None) -> None:
    """Raises ConfigError or BenchmarkError on a workload that a side cannot run, before anything is measured."""
    models.build(workload.model)
    make_config(workload)
    if peer:
        require_twin(workload.model)


def measure(workload: Workload, peer: str | None, steps: int, profile: str | None = None) -> Measurement:
    """Times `steps` steps of each side; raises BenchmarkError where a side cannot run, or is another network."""
    with tempfile.TemporaryDirectory() as empty, contextlib.ExitStack() as stack:
        caches = {"XDG_CACHE_HOME": empty, "JAX_COMPILATION_CACHE_DIR": f"{empty}/compiled"}
        with SideProcess(OURS, workload, caches) as cold:
            cold_facts = cold.facts
        ours = stack.enter_context(SideProcess(OURS, workload, caches))
        other = stack.enter_context(SideProcess(PEERS[peer], workload)) if peer else None
        if peer and other:
            require_same(workload.model, peer, ours.facts, other.facts)
        measured = time_sides(workload, ours, other, cold_facts, steps)
        if profile:
            ours.ask("profile", folder=profile)
    return measured


def time_sides(
    workload: Workload, ours: SideProcess, other: SideProcess | None, cold_facts: dict[str, Any], steps: int
) -> Measurement:
    """Of sides that are ready; `cold_facts` are ours of a start with empty caches."""
    seconds, peer_seconds = time_alternately(ours, other, max(1, steps // STEPS_PER_TURN), STEPS_PER_TURN)
    timed, peak_flops = ours.ask("steps", count=STEPS_PER_TURN), ours.ask("peak_flops")["peak_flops"]
    step, passes = float(np.median(seconds)), 1 if workload.inference else 3
    low, high = np.quantile(workload.batch_size / np.array(seconds), [0.25, 0.75])
    flops = passes * 2 * ours.facts["macs"] * workload.batch_size / step
    facts = {key: ours.facts[key] for key in ("platform", "own_kernels", "versions")}
    return Measurement(
        model=workload.model,
        parameters=ours.facts["parameters"],
        macs=ours.facts["macs"],
        images_per_second=workload.batch_size / step,
        step_seconds=step,
        spread=(float(low), float(high)),
        input_share=timed["input_seconds"] / timed["seconds"],
        compile_seconds=cold_facts["compile_seconds"],
        first_step_cold=cold_facts["first_step_seconds"],
        first_step_warm=ours.facts["first_step_seconds"],
        **ours.ask("memory"),
        peak_share=flops / peak_flops,
        facts=facts | {"peak_flops": peak_flops, "inference": workload.inference},
        peer=compare_with_peer(other, workload, seconds, peer_seconds) if other else None,
    )


def compare_with_peer(other: SideProcess, workload: Workload, ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """The peer's own figures, and the ratio of the images a second, ours to the peer's, of turns side by side."""
    ratios = np.array(theirs) / np.array(ours)
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return {
        "name": next(name for name, module in PEERS.items() if module == other.module),
        "versions": other.facts["versions"],
        "images_per_second": workload.batch_size / float(np.median(theirs)),
        "first_step_seconds": other.facts["first_step_seconds"],
        **other.ask("memory"),
        "ratio": float(middle),
        "ratio_quartiles": [float(low), float(high)],
    }


COLUMNS = {
    "model": "",
    "images/s": "",
    "peer": "images/s",
    "ratio": "ours to peer: median [quartiles]",
    "s/step": "",
    "input": "% of a step that the host is giving out batches, beside the device's work",
    "compile": "s, cold",
    "first step": "s from the command, cold / warm caches",
    "memory": "MB, peak, and above what the imports hold",
    "peer's": "MB, likewise",
    "of peak": "% of the matrix product's measured rate",
}


def format_row(m: Measurement) -> list[str]:
    """A measurement in the order of COLUMNS."""
    peer = m.peer or {}
    ratio = f"{peer['ratio']:.2f} [{peer['ratio_quartiles'][0]:.2f}, {peer['ratio_quartiles'][1]:.2f}]" if peer else "-"
    return [
        m.model,
        f"{format_rate(m.images_per_second)} [{format_rate(m.spread[0])}, {format_rate(m.spread[1])}]",
        format_rate(peer["images_per_second"]) if peer else "-",
        ratio,
        f"{m.step_seconds:.3f}",
        f"{m.input_share:.2%}",
        f"{m.compile_seconds:.1f}",
        f"{m.first_step_cold:.1f} / {m.first_step_warm:.1f}",
        format_memory(m.peak_bytes, m.import_bytes),
        format_memory(peer["peak_bytes"], peer["import_bytes"]) if peer else "-",
        f"{m.peak_share:.0%}",
    ]


def format_rate(images_per_second: float) -> str:
    """Whole images, and below a hundred tenths of one."""
    return f"{images_per_second:.0f}" if images_per_second >= 100 else f"{images_per_second:.1f}"


def format_memory(peak: int, imports: int) -> str:
    """`1432 (+812)`, in MB."""
    return f"{peak / 1e6:.0f} (+{(peak - imports) / 1e6:.0f})"


def format_table(measurements: list[Measurement]) -> str:
    """All of them, in columns, with what each column holds below."""
    lines = [list(COLUMNS), *map(format_row, measurements)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(f"{item:>{width}}" for item, width in zip(line, widths, strict=True)) for line in lines]
    notes = [f"{name}: {note}" for name, note in COLUMNS.items() if note]
    return "\n".join([*text, "", "; ".join(notes)])
