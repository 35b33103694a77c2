"""Flags of a sweep over seeds, and its way: the plan, or the runs and then the report."""

from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from cnn_jax import plan, studies, sweep
from cnn_jax.config import Config, ConfigError
from cnn_jax.data import Dataset
from cnn_jax.train import processes
from experiments.flags import launcher, recipe, runs
from experiments.flags.settings import make_settings

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(runs)
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds; a verdict needs three.")
flags.DEFINE_string("workdir", None, "Where the runs and the report go.")
flags.DEFINE_bool("plan", False, "Print the grid with parameters, steps and an estimate of the time; run nothing.")
flags.DEFINE_float("hours", 24.0, "With --plan of streamed data: in how long a run is to finish.", lower_bound=0.01)
flags.DEFINE_integer(
    "cell",
    None,
    "Run this one alone of the runs that --plan counts, from 0: --cell=$SLURM_ARRAY_TASK_ID. The report is made when "
    "all are finished, by ./launch.sh report.",
)


def run(study: str, models: Sequence[str], axes: sweep.Axes, report: Callable[[Path], str] | None = None) -> int:
    """Every model in every cell of the axes with every seed, then the study's page, or what `report` prints.

    With --plan the plan alone, with --cell one run and no report. Returns the exit status, 1 where a run failed; raises
    ConfigError for an axis without a value or a --cell out of range, and what `runs.make_configs` raises.
    """
    for axis, values in axes.items():
        if not values:
            raise ConfigError(f"no value of {axis} is given")
    workdir = launcher.expand_path(FLAGS.workdir)
    configs, datasets = runs.make_configs_and_datasets(
        models, {**axes, "seed": runs.parse_integers("seeds")}, workdir, FLAGS.plan
    )
    if not FLAGS.plan:
        recipe.print_names(models)
    return run_configs(study, configs, datasets, workdir, report)


def run_configs(
    study: str,
    configs: Sequence[Config],
    datasets: Sequence[Dataset],
    workdir: Path,
    report: Callable[[Path], str] | None = None,
) -> int:
    """`run` of configs that are made already, and of what each learns from."""
    if FLAGS.plan:
        if all(dataset.streamed for dataset in datasets):
            print(plan.estimate_plan(configs, datasets, workdir, make_settings().layout, FLAGS.hours))
        else:
            print(plan.measure_plan(configs, workdir, make_settings()))
        print(f"{len(configs)} runs, one at a time by --cell=0 to --cell={len(configs) - 1}")
        return 0
    if FLAGS.cell is not None:
        configs = [select_cell(configs, FLAGS.cell)]
    sweep.run_folders(configs, workdir)  # two that are the same are refused before anything is written
    processes.run_on_leader(lambda: studies.begin(workdir, study))
    outcomes = sweep.run(configs, workdir, make_settings()) if configs else []
    if FLAGS.cell is None and processes.is_leader():
        print(report(workdir) if report else studies.write(study, workdir))
    return int(any(outcome.error for outcome in outcomes))


def select_cell(configs: Sequence[Config], index: int) -> Config:
    """The config of that number; raises ConfigError."""
    if not 0 <= index < len(configs):
        raise ConfigError(f"--cell={index}: the sweep has {len(configs)} runs, 0 to {len(configs) - 1}")
    return configs[index]
