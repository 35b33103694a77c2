"""What the lecture says of transfer learning, judged on a transfer study: when it helps, how much of a network, how."""

from typing import Any

from cnn_jax.report import claims
from cnn_jax.report.cells import number, seed
from cnn_jax.report.claims import Comparison, Group, Metric, compare
from cnn_jax.report.significance import Kind
from cnn_jax.studies.transfer.cells import Cell, Study, choose_linear, counts, find
from cnn_jax.studies.transfer.probe import ALL
from cnn_jax.studies.transfer.ways import AXES, LINEAR
from cnn_jax.train.record import Run

FEW = 5
"""Examples a class up to which there are few."""


def verdicts(study: Study) -> list[dict[str, Any]]:
    """One verdict a claim and number of examples that it is of; nothing of what the study did not run."""
    there = counts(study.cells)
    few = [count for count in there if 0 < count <= FEW]
    out = []
    for count in few:
        out += beats_scratch(study, count)
        out += frozen_beats_tuned(study, count)
    out += gap_closes(study, there[0], there[-1])
    out += middle_beats_last(study, there[-2:][0])
    out += unrelated_is_no_better(study, there[-1])
    return claims.judge(out)


def beats_scratch(study: Study, count: int) -> list[Comparison]:
    """Fine-tuned and, on features alone, linear."""
    out = []
    for way in ("finetune", LINEAR):
        text = f"with {told(count)} a class a network drawn anew has higher test error than {way}"
        name = f"{way}_beats_scratch_{count}"
        out += judge(name, text, find(study, "scratch", count), find(study, way, count), "higher")
    return out


def frozen_beats_tuned(study: Study, count: int) -> list[Comparison]:
    """Features that stay as they are against features that few examples move."""
    out = []
    for way in ("frozen", LINEAR):
        text = f"with {told(count)} a class fine-tuning all has higher test error than {way}"
        name = f"{way}_beats_finetune_{count}"
        out += judge(name, text, find(study, "finetune", count), find(study, way, count), "higher")
    return out


def gap_closes(study: Study, fewest: int, most: int) -> list[Comparison]:
    """What a network drawn anew errs more than a fine-tuned one, seed by seed."""
    scratch = [run for cell in study.cells if cell.way == "scratch" for run in cell.runs]
    twins = {(run.config["data"]["examples_per_class"], seed(run)): run for run in scratch if run.result}

    def error_gap_to_scratch(run: Run) -> float:
        twin = twins.get((run.config["data"]["examples_per_class"], seed(run)))
        return number(((twin and twin.result) or {}).get("test_error")) - number((run.result or {}).get("test_error"))

    few, many = (find(study, "finetune", count) for count in (fewest, most))
    text = "what fine-tuning gains over a network drawn anew is more on the fewest examples than on the most"
    return judge("the_gap_closes", text, few, many, "higher", error_gap_to_scratch) if fewest != most else []


def middle_beats_last(study: Study, count: int) -> list[Comparison]:
    """The cut that held-out training examples chose among all but the last, against the last endpoint of all."""
    if not study.endpoints:
        return []
    last = next(name for name in reversed(study.endpoints) if name != ALL)
    cells = [cell for cell in study.cells if (cell.way, cell.examples, cell.size) == (LINEAR, count, 0)]
    middle = choose_linear([cell for cell in cells if cell.cut not in (last, ALL)], count)
    end = next((cell for cell in cells if cell.cut == last), None)
    text = f"with {told(count)} a class the last layer's features have higher test error than a middle layer's"
    return judge("the_middle_beats_the_last", text, end, middle, "higher")


def unrelated_is_no_better(study: Study, count: int) -> list[Comparison]:
    """When not: a network of another world."""
    of = {cell.way: cell for cell in study.unrelated if cell.examples == count}
    text = "a network drawn anew has no higher test error than one that begins with an unrelated task's variables"
    return judge("unrelated_is_no_better", text, find(study, "scratch", count), of.get("finetune"), "no_higher")


def judge(
    name: str, text: str, a: Cell | None, b: Cell | None, kind: Kind, metric: Metric = "test_error"
) -> list[Comparison]:
    """The metric of `a` beside that of `b`, seed by seed; nothing where one was not run."""
    if a is None or b is None:
        return []
    first, second = (cell.name if a.name != b.name else f"{cell.name} ({told(cell.examples)})" for cell in (a, b))
    second = f"{second}, unrelated" if first == second or b.source not in ("", a.source) and a.source else second
    sides = Group(first, a.runs), Group(second, b.runs)
    return [compare(name, text, metric, *sides, kind, axes=AXES, paired=True)]


def told(count: int) -> str:
    """`1 example`, `5 examples`, `all examples`."""
    return "all examples" if not count else f"{count} example{'s' * (count > 1)}"
