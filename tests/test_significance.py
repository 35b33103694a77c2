"""The rule that verdicts are made by: SciPy's own p, rates of error and power by simulation, seeds, exact numbers."""

import numpy as np
import pytest
from scipy import stats

from cnn_jax.report.significance import (
    ALPHA,
    Estimate,
    adjust,
    decide,
    holm,
    interval,
    p_values,
    power,
    seeds_needed,
    welch,
)

STUDIES = 40_000
MARGIN = 0.005
# Four standard errors of a rate of ALPHA over so many studies.
NOISE = 4 * (ALPHA * (1 - ALPHA) / STUDIES) ** 0.5


def simulate(kinds, difference, n, sds=(0.02, 0.02), paired=False):
    """The verdicts of many pages, (STUDIES, claims), whose claims all have this true difference."""
    rng = np.random.default_rng(n)
    a, b = (rng.normal(mean, sd, (STUDIES, len(kinds), n)) for mean, sd in ((difference, sds[0]), (0, sds[1])))
    if paired:
        estimate = Estimate((a - b).mean(-1), (a - b).std(-1, ddof=1) / n**0.5, np.full(a.shape[:2], n - 1))
    else:
        estimate = welch(a.mean(-1), a.std(-1, ddof=1), n, b.mean(-1), b.std(-1, ddof=1), n)
    p = [p_values(Estimate(*(part[:, i] for part in estimate)), MARGIN, kind) for i, kind in enumerate(kinds)]
    return decide(kinds, *adjust(kinds, *np.moveaxis(np.array(p), 0, -1)))


def rate(verdicts, verdict):
    """The part of the pages with that verdict on a claim or more."""
    return (verdicts == verdict).any(-1).mean()


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("family", [1, 3])
@pytest.mark.parametrize("paired", [True, False])
def test_wrong_verdicts_are_as_rare_as_the_rule_says(n, family, paired):
    higher, no_higher, same = (simulate([kind] * family, difference, n, paired=paired) for kind, difference in (
        ("higher", 0), ("no_higher", MARGIN), ("same", MARGIN)))  # fmt: skip
    assert rate(higher, "PASS") < ALPHA + NOISE
    assert rate(no_higher, "PASS") < ALPHA + NOISE
    assert rate(same, "PASS") < ALPHA + NOISE
    assert rate(simulate(["higher"] * family, MARGIN, n, paired=paired), "FAIL") < ALPHA + NOISE
    assert rate(simulate(["no_higher"] * family, 0, n, paired=paired), "FAIL") < ALPHA + NOISE
    assert rate(simulate(["same"] * family, 0, n, paired=paired), "FAIL") < ALPHA + NOISE
    if paired and family == 1:  # exact, so not rarer either; less what the other test takes away
        exact = simulate(["no_higher"], MARGIN, n, sds=(1e-4, 1e-4), paired=True)
        assert rate(exact, "PASS") == pytest.approx(ALPHA, abs=NOISE)


def test_a_page_of_both_kinds_has_one_rate_and_not_two():
    """d = 0 makes a PASS of "higher" wrong, d = margin one of "no higher": with both at once on a page."""
    kinds = ["higher"] * 3 + ["no_higher"] * 3
    verdicts = simulate(kinds, np.array([[0]] * 3 + [[MARGIN]] * 3), 5, sds=(1e-3, 1e-3), paired=True)
    assert rate(verdicts, "PASS") < ALPHA + NOISE


def test_deviations_far_apart_cost_three_seeds_a_point():
    for n, most in ((3, 0.0625), (5, 0.056)):
        for family in (1, 3):
            assert rate(simulate(["higher"] * family, 0, n, sds=(0.002, 0.02)), "PASS") < most


def test_noise_does_not_pass_for_no_difference():
    """Three seeds, 3 points truly higher, deviations of 3: two standard errors are exceeded in three of ten studies
    only, and no verdict may come from that."""
    verdicts = simulate(["no_higher"], 0.03, 3, sds=(0.03, 0.03))
    assert rate(verdicts, "PASS") < 0.01
    assert rate(verdicts, "UNDECIDED") > 0.7


@pytest.mark.parametrize(
    ("kind", "difference", "which", "verdict"),
    [
        ("higher", 0.04, 0, "PASS"),
        ("no_higher", 0.04, 0, "FAIL"),
        ("no_higher", -0.04, 1, "PASS"),
        ("higher", -0.04, 1, "FAIL"),
        ("same", 0.04, 0, "FAIL"),
    ],
)
@pytest.mark.parametrize("n", [5, 10])
def test_power_is_that_of_the_noncentral_t(kind, difference, which, verdict, n):
    """Exact of pairs; of two sides with ten seeds to two points, with five to four."""
    pairs = simulate([kind], difference, n, sds=(0.03, 0.02), paired=True)
    deviation = (0.03**2 + 0.02**2) ** 0.5
    exact = power(difference, (deviation,), n, MARGIN, kind, ALPHA)[which]
    assert rate(pairs, verdict) == pytest.approx(exact, abs=0.012)
    apart = power(difference, (0.03, 0.02), n, MARGIN, kind, ALPHA)[which]
    assert rate(simulate([kind], difference, n, sds=(0.03, 0.02)), verdict) == pytest.approx(apart, abs=0.2 / n)


def test_what_is_the_same_is_found_to_be():
    found = rate(simulate(["same"], 0, 10, sds=(0.0035, 0.0035), paired=True), "PASS")
    assert found > 0.7
    assert found == pytest.approx(power(0, (0.0035 * 2**0.5,), 10, MARGIN, "same", ALPHA)[1], abs=0.012)


def test_the_seeds_needed_have_the_power_and_one_fewer_has_not():
    for kind, difference in (("higher", 0.03), ("no_higher", -0.01), ("same", 0.001)):
        n = seeds_needed(difference, (0.02, 0.03), MARGIN, kind, ALPHA / 3)
        assert n is not None
        few, enough = (max(power(difference, (0.02, 0.03), k, MARGIN, kind, ALPHA / 3)) for k in (n - 1, n))
        assert few < 0.8 <= enough
    assert seeds_needed(0.0025, (0.05, 0.05), MARGIN, "higher", ALPHA) is None


def test_p_and_interval_are_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.01, 0.02, 5), rng.normal(0, 0.005, 4)
    found = welch(a.mean(), a.std(ddof=1), len(a), b.mean(), b.std(ddof=1), len(b))
    greater = stats.ttest_ind(a, b, equal_var=False, alternative="greater")
    less = stats.ttest_ind(a - MARGIN, b, equal_var=False, alternative="less")
    assert p_values(found, MARGIN, "higher") == pytest.approx((greater.pvalue, less.pvalue), rel=1e-9)
    bounds = stats.ttest_ind(a, b, equal_var=False).confidence_interval(1 - 2 * ALPHA)
    assert interval(found) == pytest.approx((bounds.low, bounds.high), rel=1e-9)
    pairs = a[:4] - b
    found = Estimate(pairs.mean(), pairs.std(ddof=1) / 2, 3)
    tests = [stats.ttest_rel(a[:4], b + bound, alternative=way).pvalue for bound, way in (
        (0, "two-sided"), (MARGIN, "less"), (-MARGIN, "greater"))]  # fmt: skip
    assert p_values(found, MARGIN, "same") == pytest.approx((tests[0], max(tests[1:])), rel=1e-9)


def test_holm_is_the_textbooks():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.4]) == pytest.approx([0.9, 0.8])
    assert holm([]).shape == (0,)
    rows = np.array([[0.01, 0.04], [0.5, 0.001]])
    assert holm(rows) == pytest.approx(np.stack([holm(row) for row in rows]))


@pytest.mark.parametrize(
    ("difference", "kind", "expected"),
    [
        (0.0, "higher", (1, 0)),
        (0.3 - 0.1 - 0.2, "higher", (1, 0)),  # -2.8e-17
        (0.105 - 0.1, "higher", (0, 1)),  # 0.0049999999999999906: the margin itself is not below it
        (0.0049, "higher", (0, 0)),
        (-0.1, "no_higher", (1, 0)),
        (0.0, "same", (1, 0)),
        (-0.0049, "same", (0, 0)),
        (0.1 - 0.105, "same", (0, 1)),
    ],
)
def test_numbers_that_do_not_vary_are_compared_as_they_are(difference, kind, expected):
    assert p_values(welch(difference, 0.0, 3, 0.0, 0.0, 3), MARGIN, kind) == expected
    assert p_values(Estimate(difference, 1e-18, 2), MARGIN, kind) == expected


def test_one_side_may_be_without_spread():
    found = welch(0.03, 0.01, 3, 0.0, 0.0, 3)
    assert found.df == pytest.approx(2)
    sample = np.array([0.02, 0.03, 0.04])
    p = stats.ttest_1samp(sample, 0, alternative="greater").pvalue
    assert p_values(found, MARGIN, "higher")[0] == pytest.approx(p, rel=1e-9)
