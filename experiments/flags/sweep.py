"""Flags of a sweep over seeds, and its way: the plan, or the runs and then the report."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from absl import flags

from cnn_jax import plan, studies, sweep
from cnn_jax.config import Config, ConfigError
from cnn_jax.data import Dataset
from cnn_jax.train import processes
from cnn_jax.train.record import RecordError
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


Stage = Callable[[Mapping[Path, Config], bool], sweep.Axes]
"""The axes of runs that begin with others, of those by their folders; and whether to name those that cannot begin yet,
which are only counted and timed."""


def run(study: str, models: Sequence[str], axes: sweep.Axes, report: Callable[[Path], str] | None = None) -> int:
    """Every model in every cell of the axes with every seed, then the study's page, or what `report` prints.

    With --plan the plan alone, with --cell one run and no report. Returns the exit status, 1 where a run failed; raises
    ConfigError for an axis without a value or a --cell out of range, and what `runs.make_configs` raises.
    """
    for axis, values in axes.items():
        if not values:
            raise ConfigError(f"no value of {axis} is given")
    return run_stages(study, models, [lambda folders, planned: {**axes, "seed": runs.parse_integers("seeds")}], report)


def run_stages(
    study: str, models: Sequence[str], stages: Sequence[Stage], report: Callable[[Path], str] | None = None
) -> int:
    """As `run`, of runs in stages, each of which begins with what those before it have learned.

    Raises RecordError for a --cell that begins with runs which are not finished.
    """
    workdir = launcher.expand_path(FLAGS.workdir)
    if FLAGS.plan or FLAGS.cell is not None:
        return run_part(study, models, stages, workdir)
    configs, failed = list[Config](), False
    for stage in stages:
        found = runs.make_configs(models, stage(sweep.run_folders(configs, workdir), False), workdir)
        configs += found
        sweep.run_folders(configs, workdir)  # two that are the same are refused before anything is written
        if found == configs:
            begin(study, models, workdir)
        outcomes = sweep.run(found, workdir, make_settings()) if found else []
        failed |= any(outcome.error for outcome in outcomes)
    if processes.is_leader():
        print(report(workdir) if report else studies.write(study, workdir))
    return int(failed)


def begin(study: str, models: Sequence[str], workdir: Path) -> None:
    processes.run_on_leader(lambda: studies.begin(workdir, study))
    recipe.print_names(models)


def run_part(study: str, models: Sequence[str], stages: Sequence[Stage], workdir: Path) -> int:
    """The plan of --plan, or the one run of --cell."""
    configs, datasets, before = list[Config](), list[Dataset](), dict[Path, Config]()
    for stage in stages:
        found, learned = runs.make_configs_and_datasets(models, stage(before, True), workdir, FLAGS.plan)
        if FLAGS.cell is not None and len(configs) <= FLAGS.cell < len(configs) + len(found):
            require_finished(before, FLAGS.cell)
        configs, datasets = configs + found, datasets + learned
        before = sweep.run_folders(configs, workdir)
    if FLAGS.cell is not None:
        recipe.print_names(models)
    return run_chosen(study, configs, datasets, workdir)


def run_configs(
    study: str, configs: Sequence[Config], datasets: Sequence[Dataset], workdir: Path, report: Callable[[Path], str]
) -> int:
    """`run` of configs that are made already, and of what each learns from."""
    sweep.run_folders(configs, workdir)  # two that are the same are refused before anything is written
    if FLAGS.plan or FLAGS.cell is not None:
        return run_chosen(study, configs, datasets, workdir)
    processes.run_on_leader(lambda: studies.begin(workdir, study))
    outcomes = sweep.run(configs, workdir, make_settings()) if configs else []
    if processes.is_leader():
        print(report(workdir))
    return int(any(outcome.error for outcome in outcomes))


def run_chosen(study: str, configs: Sequence[Config], datasets: Sequence[Dataset], workdir: Path) -> int:
    """The plan of --plan, or the one run of --cell."""
    if FLAGS.cell is not None:
        chosen = select_cell(configs, FLAGS.cell)
        processes.run_on_leader(lambda: studies.begin(workdir, study))
        (outcome,) = sweep.run([chosen], workdir, make_settings())
        return int(outcome.error is not None)
    if all(dataset.streamed for dataset in datasets):
        print(plan.estimate_plan(configs, datasets, workdir, make_settings().layout, FLAGS.hours))
    else:
        print(plan.measure_plan(configs, workdir, make_settings()))
    print(f"{len(configs)} runs, one at a time by --cell=0 to --cell={len(configs) - 1}")
    return 0


def require_finished(before: Collection[Path], cell: int) -> None:
    """Raises RecordError where a run of the stages before the cell's is not finished."""
    missing = [folder.name for folder in before if not (folder / "result.json").exists()]
    if missing:
        raise RecordError(
            f"--cell={cell} begins with runs of which {len(missing)} are not finished, {missing[0]} for instance: "
            f"run --cell=0 to --cell={len(before) - 1} first"
        )


def select_cell(configs: Sequence[Config], index: int) -> Config:
    """The config of that number; raises ConfigError."""
    if not 0 <= index < len(configs):
        raise ConfigError(f"--cell={index}: the sweep has {len(configs)} runs, 0 to {len(configs) - 1}")
    return configs[index]
