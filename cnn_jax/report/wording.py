"""Verdicts in words: their numbers in the metric's unit, what follows from them, and the rule they are judged under."""

from typing import Any

from cnn_jax.report.significance import ALPHA, POWER, Kind
from cnn_jax.train.task import Headline

TITLES = {"train": "training", "test": "test"}

INTERVAL = 100 * (1 - 2 * ALPHA)

TESTS = {
    "higher": "that d > 0 (A is superior), and that d is below a margin of {margin} (A is noninferior)",
    "same": (
        "that d is not 0 (superior, two-sided), and that it is between -{margin} and {margin} (noninferior, by two "
        "one-sided tests, TOST)"
    ),
}
MEANINGS = {
    "higher": (
        "A claim that A is higher passes where d > 0 is shown, and fails where d < margin is shown; where both are, A "
        "is negligibly higher, and it fails. A claim that A is no higher is the mirror: it passes where d < margin is "
        "shown, and fails where only d > 0 is."
    ),
    "same": (
        "A claim that A and B are the same passes where d is shown to be within the margin, and fails where it is only "
        "shown not to be 0."
    ),
}
RULE = (
    "A claim is about d = mean(A) - mean(B), means over {over}. Two things are tested, each by {test}: {tests}. "
    "{meaning} Anything else is UNDECIDED, as is what cannot be tested: fewer than three {over} on a side, or a "
    "missing side. The level is {alpha:g} % over the page's {family}, by Holm's method, which the p in sentences are "
    "adjusted by: the tests that could make a claim pass are one family, those that could make it fail another, so "
    "that one wrong pass or more has a probability of at most {alpha:g} %, and one wrong fail or more too. Numbers "
    "that do not vary over {over} are compared as they are. The {over} that an undecided claim would take are those "
    "with which a test has a power of {power:g} %, were the difference and the deviations as observed. Intervals are "
    "of {interval:g} %, not adjusted for the number of claims."
)
WELCH = "Welch's t test (of three seeds that deviate very unequally its level holds to about one point)"
PAIRED = {
    "seeds": "the paired t test, over runs of the same seed, which drew the same training examples and initial values",
    "queries": "the paired t test, query by query",
}
FINAL = (
    " Errors are final ones: training error exact over the training split, test error after the last step, never the "
    "best on test."
)


def metric_unit(metric: str, headline: Headline) -> str:
    """That of a metric: of the headline its own; any other error is a fraction too, and told in percent."""
    if metric in map(headline.name, TITLES):
        return headline.unit
    return "%" if "error" in metric else ""


def metric_title(metric: str, headline: Headline) -> str:
    """What a metric is called at the beginning of a sentence: `Training error`."""
    split = next((split for split in TITLES if metric == headline.name(split)), None)
    words = metric.replace("_", " ") if split is None else f"{TITLES[split]} {headline.title}"
    return words[:1].upper() + words[1:]


def format_amount(value: float | None, unit: str, of_percent: str = "") -> str:
    """A value in words, with its unit, or what stands for it where that is percent; "–" where there is none."""
    if value is None:
        return "–"
    return f"{100 * value:.2f}{of_percent}" if unit == "%" else f"{value:.4g} {unit}".rstrip()


def describe_rule(unit: str, kind: Kind, margin: float, paired: bool, family: int, over: str = "seeds") -> str:
    """How a comparison of numbers of that unit is judged on a page with so many claims that can be tested.

    `over` says of what they are means: seeds or queries.
    """
    form = "same" if kind == "same" else "higher"
    least = f"{100 * margin:g} percentage points" if unit == "%" else f"{margin:g} {unit}".rstrip()
    text = RULE.format(
        test=PAIRED[over] if paired else WELCH,
        tests=TESTS[form].format(margin=least),
        meaning=MEANINGS[form],
        family="one testable claim" if family == 1 else f"{family} testable claims",
        alpha=100 * ALPHA,
        over=over,
        power=100 * POWER,
        interval=INTERVAL,
    )
    return text + FINAL if unit == "%" else text


def describe_outcome(verdict: dict[str, Any], paired: bool, over: str = "seeds") -> list[str]:
    """The numbers of a verdict in words and what follows from them, errors in percent and percentage points."""
    difference, unit = verdict["difference"], verdict["unit"]
    if difference is None:
        return []
    a, b = verdict["a"], verdict["b"]
    text = f"{verdict['title']}: {a['name']} {_spread(a, unit)}, {b['name']} {_spread(b, unit)}; {a['name']} is "
    direction = "higher" if difference > 0 else "lower"
    text += "level with it" if difference == 0 else f"{format_amount(abs(difference), unit, ' points')} {direction}"
    if verdict["interval"] is None:
        return [f"{text}."]
    lower, upper = (format_amount(bound, unit) for bound in verdict["interval"])
    return [f"{text}, {INTERVAL:g} % interval {lower} to {upper}.", *_conclusion(verdict, paired, over)]


def _conclusion(verdict: dict[str, Any], paired: bool, over: str) -> list[str]:
    a, margin = verdict["a"]["name"], format_amount(verdict["margin"], verdict["unit"], " points")
    superior, noninferior = verdict["p_superior"]["holm"], verdict["p_noninferior"]["holm"]
    far = f"that {a} is higher"
    near = f"that it is {'' if superior <= ALPHA else 'lower or '}less than {margin} higher"
    if verdict["kind"] == "same":
        far, near = "that the two differ", f"that they differ by less than {margin}"
    if verdict["verdict"] != "UNDECIDED":
        shown = [f"{what} ({_p(p)})" for what, p in ((far, superior), (near, noninferior)) if p <= ALPHA]
        return [f"This shows {', and '.join(shown)}."]
    seeds = verdict["seeds_needed"]
    needed = f"{seeds if isinstance(seeds, str) else f'about {seeds}'} {over}{'' if paired else ' a side'}"
    return [f"This shows neither {far} ({_p(superior)}) nor {near} ({_p(noninferior)}); it would take {needed}."]


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"


def _spread(side: dict[str, Any], unit: str) -> str:
    spread = "" if side["sd"] is None else f"sd {format_amount(side['sd'], unit)}, "
    return f"{format_amount(side['mean'], unit, ' %')} ({spread}n = {side['n']})"
