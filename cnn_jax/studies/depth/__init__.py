"""The page of depth diagnostics, rebuilt from diagnostics.json alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnn_jax.report import page
from cnn_jax.report.cells import AXES, label
from cnn_jax.studies.depth.claims import judge
from cnn_jax.studies.depth.figures import FIGURES
from cnn_jax.studies.depth.nets import COLUMNS, HEADER, Net, filter_measured, group_nets, make_nets, row, table
from cnn_jax.train import record

SOURCE = (
    "After He, Zhang, Ren and Sun, “Deep Residual Learning for Image Recognition”, CVPR 2016; Veit, Wilber and "
    "Belongie, “Residual Networks Behave Like Ensembles of Relatively Shallow Networks”, NIPS 2016; and Glorot and "
    "Bengio, “Understanding the difficulty of training deep feedforward neural networks”, AISTATS 2010."
)
RECIPE = ("optim", "penalty", "steps", "evaluations", "patience")
"""What of a config training alone reads."""
NOTE = (
    "A row a trained network. Of its blocks each is removed in turn; the median and the worst are by the test error "
    "without them. Responses are after batch normalisation, their deviations averaged over the layers."
)


def write(workdir: Path) -> str:
    """Rebuilds the page, see `page.write`, beside `workdir`'s diagnostics/diagnostics.json.

    Raises RecordError where there is none.
    """
    folder = workdir / "diagnostics"
    parts = record.read_json(folder / "diagnostics.json")
    if parts is None:
        raise record.RecordError(f"{folder} holds no diagnostics.json: ./launch.sh depth_diagnostics writes it")
    return page.write(study(make_nets(parts["initial"]), make_nets(parts["networks"])), folder)


def study(initial: Sequence[Net], trained: Sequence[Net]) -> page.Study:
    """What gradients, responses, lesions and constructions say of the networks."""
    parts = {"initial": initial, "networks": trained}
    rows = [row(net) for net in trained]
    recipe = {name: trained[0].config[name] for name in RECIPE if trained and name in trained[0].config}
    before = {
        f"{label(*key)} before training": [net.to_run({}, recipe) for net in own]
        for key, own in group_nets(initial).items()
    }
    after = {label(*key): [net.to_run(result(net)) for net in own] for key, own in group_nets(trained).items()}
    return page.Study(
        title="Depth diagnostics",
        source=SOURCE,
        cells=after | before,
        columns=COLUMNS,
        results=rows,
        tables=[page.Table("Trained networks", HEADER, table(rows), NOTE)] if rows else [],
        figures={
            name: (draw(parts[part]), caption)
            for name, (part, what, draw, caption) in FIGURES.items()
            if filter_measured(parts[part], what)
        },
        verdicts=judge(initial, trained),
        axes=(*AXES, "model.activation", "model.normalization", "model.initialization"),
    )


def result(net: Net) -> dict[str, Any]:
    """What of a trained network's result the page shows; the steps of other people's are not known."""
    errors = {name: net.results.get(name) for name in ("train_error", "test_error")}
    return errors | {"steps": net.config.get("steps", "–")}
