"""Whether a difference of means is above zero, and whether it is below a margin: t tests, families of them, power.

All functions take numbers or arrays: of `adjust` and `decide` the last axis is the family, elsewhere arrays broadcast.
The tests are `scipy.stats.ttest_ind(equal_var=False)` and `ttest_1samp` with one-sided alternatives, written with the t
distribution because those refuse what studies have: means without their samples, and samples that do not vary.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import special  # not scipy.stats, which takes two seconds to import

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 1000

Kind = Literal["higher", "no_higher", "same"]
"""What is claimed of the difference d of two means: d > 0; d < margin; |d| < margin."""


class Estimate(NamedTuple):
    """A difference of means, its standard error, and the degrees of freedom of their ratio."""

    difference: Any
    error: Any
    df: Any


def welch(mean_a: Any, sd_a: Any, n_a: Any, mean_b: Any, sd_b: Any, n_b: Any) -> Estimate:
    """Of independent samples whose deviations may differ (Welch 1947); arguments as of `ttest_ind_from_stats`.

    Welch's degrees of freedom are an approximation: the rate of error is below ALPHA where the deviations are alike,
    and with three seeds a side and deviations of one to ten 5.3 % for one claim and 6.1 % for a family of three.
    """
    part_a, part_b = np.square(sd_a) / n_a, np.square(sd_b) / n_b
    variance = np.asarray(part_a + part_b)
    share = np.divide(part_a, variance, out=np.full(variance.shape, 0.5), where=variance > 0)
    df = 1 / (share**2 / (n_a - 1) + (1 - share) ** 2 / (n_b - 1))
    return Estimate(mean_a - mean_b, np.sqrt(variance), df)


def p_values(estimate: Estimate, margin: Any, kind: Kind) -> tuple[Any, Any]:
    """(superior, noninferior): p of the null hypotheses d <= 0 and d >= margin; of "same" of d = 0 and |d| >= margin.

    The last is the larger of two one-sided tests (TOST, Schuirmann 1987). Where neither sample varies, the numbers are
    compared as they are, and p is 0 or 1.
    """
    mirrored = estimate._replace(difference=-estimate.difference)
    below_margin = _p_above(mirrored, -margin, margin)
    if kind != "same":
        return _p_above(estimate, 0, margin), below_margin
    sides = _p_above(estimate, 0, margin), _p_above(mirrored, 0, margin)
    return np.minimum(1, 2 * np.minimum(*sides)), np.maximum(below_margin, _p_above(estimate, -margin, margin))


def _p_above(estimate: Estimate, bound: Any, margin: Any) -> Any:
    """p of the null hypothesis d <= bound; a billionth of the margin is rounding, and no difference."""
    distance = np.where(np.abs(estimate.difference - bound) <= 1e-9 * margin, 0, estimate.difference - bound)
    varies = estimate.error > 1e-9 * margin
    p = special.stdtr(estimate.df, -distance / np.where(varies, estimate.error, 1))
    return np.where(varies, p, np.where(distance > 0, 0.0, 1.0))


def interval(estimate: Estimate) -> tuple[Any, Any]:
    """The bounds that d is below, and above, each with an error rate of ALPHA: an interval of 1 - 2 ALPHA."""
    half = -estimate.error * special.stdtrit(estimate.df, ALPHA)
    return estimate.difference - half, estimate.difference + half


def holm(p: Any) -> np.ndarray:
    """p adjusted over the last axis, so that rejecting those <= ALPHA rejects a true null hypothesis or more at a rate
    of at most ALPHA (Holm 1979)."""
    p = np.asarray(p, float)
    order = np.argsort(p, axis=-1)
    stepped = np.take_along_axis(p, order, -1) * np.arange(p.shape[-1], 0, -1)
    return np.take_along_axis(np.minimum(1, np.maximum.accumulate(stepped, axis=-1)), np.argsort(order, axis=-1), -1)


def adjust(kinds: Sequence[Kind], superior: Any, noninferior: Any) -> tuple[np.ndarray, np.ndarray]:
    """(superior, noninferior) by Holm, claims in the last axis.

    The tests that can make a claim pass are one family and those that can make it fail are another. (Were all of
    `superior` one family and all of `noninferior` another, a page with claims of both kinds would have a wrong PASS at
    up to twice the rate.)
    """
    higher = np.array([kind == "higher" for kind in kinds], bool)
    passing, failing = holm(np.where(higher, superior, noninferior)), holm(np.where(higher, noninferior, superior))
    return np.where(higher, passing, failing), np.where(higher, failing, passing)


def decide(kinds: Sequence[Kind], superior: Any, noninferior: Any) -> np.ndarray:
    """PASS, FAIL or UNDECIDED for each claim, of adjusted p; what is within the margin is not called higher."""
    higher = np.array([kind == "higher" for kind in kinds], bool)
    near = np.asarray(noninferior) <= ALPHA
    far = (np.asarray(superior) <= ALPHA) & ~near
    return np.select([np.where(higher, far, near), np.where(higher, near, far)], ["PASS", "FAIL"], "UNDECIDED")


def power(
    difference: float, deviations: Sequence[float], n: Any, margin: float, kind: Kind, level: float
) -> tuple[Any, Any]:
    """How often the tests of `p_values` have p <= level with n seeds a side, by the noncentral t distribution.

    `deviations` are those of the two sides, or the one of paired differences. Of two sides it is close rather than
    exact, for Welch's degrees of freedom are themselves estimated; of TOST it is a lower bound.
    """
    squares = np.square(deviations)
    df = (n - 1) * squares.sum() ** 2 / np.square(squares).sum()
    error = np.sqrt(squares.sum() / n)

    def rate(distance: float, level: float) -> Any:
        return 1 - special.nctdtr(df, distance / error, -special.stdtrit(df, level))

    if kind != "same":
        return rate(difference, level), rate(margin - difference, level)
    within = rate(margin - difference, level) + rate(margin + difference, level) - 1
    return rate(difference, level / 2) + rate(-difference, level / 2), np.maximum(0, within)


def seeds_needed(difference: float, deviations: Sequence[float], margin: float, kind: Kind, level: float) -> int | None:
    """The fewest seeds a side with which one of the two tests has a power of POWER, were the difference and the
    deviations those observed; None where more than MOST_SEEDS would be needed."""
    n = np.arange(3, MOST_SEEDS + 1)
    enough = np.maximum(*power(difference, deviations, n, margin, kind, level)) >= POWER
    return int(n[enough.argmax()]) if enough.any() else None
