"""Flags of a sweep over seeds, and its way: the plan, or the runs and then the report."""

from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from cnn_jax import sweep
from cnn_jax.config import ConfigError
from experiments import _launcher as launcher
from experiments import _runs as runs
from experiments._settings import settings

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(runs)
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds; a verdict needs three.")
flags.DEFINE_string("workdir", None, "Where the runs and the report go.")
flags.DEFINE_bool("plan", False, "Print the grid with parameters, steps and an estimate of the time; run nothing.")


def run(models: Sequence[str], axes: sweep.Axes, report: Callable[[Path], str]) -> int:
    """Every model in every cell of the axes with every seed, then what `report` makes of the workdir, printed.

    With --plan the plan alone. Returns the exit status, 1 where a run failed; raises ConfigError for an axis without a
    value, and what `_runs.configs` raises.
    """
    for axis, values in axes.items():
        if not values:
            raise ConfigError(f"no value of {axis} is given")
    workdir = launcher.path(FLAGS.workdir)
    configs = runs.configs(models, {**axes, "seed": runs.integers("seeds")}, workdir)
    if FLAGS.plan:
        print(sweep.plan(configs, workdir, settings()))
        return 0
    outcomes = sweep.run(configs, workdir, settings())
    print(report(workdir))
    return int(any(outcome.error for outcome in outcomes))
