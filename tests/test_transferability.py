"""What transfers: the halves, the runs of both stages, and the study's page, from run folders written by hand."""

import csv
import json
from itertools import product

import numpy as np
import pytest
from flax import traverse_util

from cnn_jax import presets, tasks
from cnn_jax.config import ConfigError, override
from cnn_jax.data import DataError
from cnn_jax.studies import transferability
from cnn_jax.studies.transferability import cells
from cnn_jax.studies.transferability.halves import GROUPS, Halves, choose
from cnn_jax.studies.transferability.runs import KINDS, SOURCE_SEEDS, base_rows, check, layer_cuts, transfer_rows
from cnn_jax.train import variables as stored
from cnn_jax.train.record import read_runs
from tests.started import read_refusal, run_page

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def test_similar_halves_share_both_groups_and_dissimilar_ones_neither():
    natural, made = map(set, GROUPS["cifar10"])
    drawn = [choose("similar", "cifar10", CIFAR10, seed) for seed in range(8)]
    for a, b, dissimilar in drawn:
        assert [len(set(half) & group) for half, group in product((a, b), (natural, made))] == [2, 2, 2, 2]
        assert not set(a) & set(b) and not dissimilar
    assert len({half.a for half in drawn}) > 4 and drawn[3] == choose("similar", "cifar10", CIFAR10, 3)
    a, b, dissimilar = choose("dissimilar", "cifar10", CIFAR10, 0)
    assert set(a) < natural and set(b) == made and len(a) == len(b) and dissimilar
    a, b, _ = choose("similar", "digits", tuple("0123456789"), 5)
    assert sorted(a + b) == list("0123456789") and len(a) == 5
    assert choose("cat,dog/ship,truck", "cifar10", CIFAR10, 0) == Halves(("cat", "dog"), ("ship", "truck"), True)
    assert not choose("cat,dog/deer,truck", "cifar10", CIFAR10, 0).dissimilar


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("0,1,2/2,3", "--halves=0,1,2/2,3: 2 is in both halves"),
        ("0/2,3", "a half of fewer than two classes"),
        ("dissimilar", "of digits is not known which classes are unlike each other"),
        ("simlar", "did you mean similar or dissimilar"),
        ("0,1/2,x", "'digits' has no class 'x'; it has 0, 1"),
    ],
)
def test_halves_that_cannot_be_are_one_line(given, message):
    with pytest.raises((ConfigError, DataError), match=message):
        choose(given, "digits", tuple("0123456789"), 0)
    with pytest.raises(ConfigError, match="cat is in both halves"):
        choose("cat,dog/3,ship", "cifar10", CIFAR10, 0)
    with pytest.raises(ConfigError, match="3 classes make no two halves"):
        choose("similar", "insects", ("ant", "bee", "cow"), 0)


def test_kinds_and_seeds_that_cannot_be_are_one_line():
    for kinds, seeds, message in (
        (["AnB", "AnC"], [0], "--kinds: unknown kind 'AnC'; did you mean AnB"),
        ([], [0], "--kinds is empty; choose from BnB"),
        (["AnB"], [0, 1000], "--seeds=0,1000: from 0 to 999"),
    ):
        with pytest.raises(ConfigError, match=message):
            check(kinds, seeds)


def test_a_network_is_cut_after_each_layer(digits):
    config = override(presets.get("auto", "digits", "alexnet"), ["model.width=4"])
    config = tasks.complete(config, digits)
    assert layer_cuts(config, digits, []) == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"]
    assert layer_cuts(config, digits, ["fc6", "pool2"]) == ["pool2", "fc6"]
    with pytest.raises(ConfigError, match="--cuts=conv9: no such endpoint; did you mean conv"):
        layer_cuts(config, digits, ["conv1", "conv9"])
    with pytest.raises(ConfigError, match="--cuts=fc8 leaves no layer of alexnet to draw anew"):
        layer_cuts(config, digits, ["fc8"])


def test_layers_are_taken_from_finished_runs_under_other_seeds(tmp_path):
    """Stand-ins of those that are not finished are as many as the runs, and no two of them the same."""
    halves = {0: [Halves(("0", "1"), ("2", "3"))], 1: [Halves(("0", "2"), ("1", "3")), Halves(("4",), ("5",), True)]}
    bases = base_rows(halves, ["conv1", "conv2"], list(KINDS))
    assert bases[:3] == [(SOURCE_SEEDS, ("0", "1"), "", "", ""), (SOURCE_SEEDS, ("2", "3"), "", "", ""), bases[2]]
    assert bases[2] == (0, ("2", "3"), "", "", "") and len(bases) == 2 * 5 + 2
    config = presets.get("classic_digits")
    folders = {
        tmp_path / str(number): override(config, [f"seed={row[0]}", f"data.classes={','.join(row[1])}"])
        for number, row in enumerate(bases)
    }
    planned = transfer_rows(halves, ["conv1", "conv2"], list(KINDS), folders, planned=True)
    assert len(planned) == len(set(planned)) == 2 * 8 + 2
    assert transfer_rows(halves, ["conv1", "conv2"], list(KINDS), folders, planned=False) == []
    for folder in folders:
        folder.mkdir()
        (folder / "result.json").write_text("{}")
    rows = transfer_rows(halves, ["conv1", "conv2"], list(KINDS), folders, planned=False)
    assert len(rows) == len(planned)
    assert (0, ("2", "3"), str(tmp_path / "1"), "conv2", "conv2") in rows  # BnB
    assert (0, ("2", "3"), str(tmp_path / "0"), "conv2", "") in rows  # AnB+
    assert (1, ("5",), str(tmp_path / "10"), "conv1", "conv1") in rows  # AnB of dissimilar halves
    assert {row[0] for row in rows} == {0, 1}


def test_layers_that_are_kept_are_the_other_networks_to_the_end(digits_dir, tmp_path):
    """Two stages of a sweep: the second begins with what the first has learned, and is not run again."""
    flags = ["--model=lenet5_full", "--kinds=AnB", "--cuts=S2", "--seeds=0", "--steps=2", "--set=evaluations=1"]
    flags += ["--set=batch_size=16", "--halves=0,1/7,9", "--devices=1", "--noprogress", f"--data_dir={digits_dir}"]
    flags.append(f"--workdir={tmp_path}")
    assert "the study sets them itself" in read_refusal("transferability", *flags, "--set=optim.frozen=S2")
    assert "begins with runs of which 2 are not finished" in read_refusal("transferability", *flags, "--cell=2")
    done = run_page("transferability", *flags)
    assert done.returncode == 0, done.stderr
    runs = {run.config["seed"] + 1j * bool(run.config["init_from"]): run for run in read_runs(tmp_path)}
    assert set(runs) == {SOURCE_SEEDS, 0, 1j}
    source, base, moved = (
        traverse_util.flatten_dict(stored.load(runs[key].folder)[0], sep="/") for key in (SOURCE_SEEDS, 0, 1j)
    )
    for name, leaf in moved.items():
        assert np.array_equal(leaf, source[name]) == (name.split("/")[1] in ("C1", "S2")), name
        assert not np.array_equal(leaf, base[name]) or name.endswith("bias")
    again = run_page("transferability", *flags)
    assert "2 of 2 runs are finished already\n1 of 1 runs are finished already" in again.stdout
    assert "similar AnB S2" in (tmp_path / "report.html").read_text()


def write_run(workdir, name, seed, classes, error, start="", until="", frozen="", dataset="cifar10"):
    folder = workdir / name
    folder.mkdir()
    config = {"model": {"name": "alexnet", "image_size": 8, "stem": "tiny", "width": 4}, "seed": seed, "steps": 4}
    config |= {"data": {"name": dataset, "classes": classes}, "optim": {"frozen": frozen}}
    config |= {"init_from": f"/elsewhere/{start}" if start else "", "init_until": until}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "result.json").write_text(json.dumps({"test_error": error, "train_error": error / 2, "seconds": 1.0}))


def write_study(workdir):
    """Three seeds in which the paper's findings hold, to a tenth of a point."""
    losses = {"BnB": (0.0, 0.03, 0.0), "BnB+": (0.0, -0.01, -0.01), "AnB": (0.0, 0.04, 0.09)}
    losses |= {"AnB+": (-0.01, -0.02, -0.03), "random": (0.1, 0.3, 0.4)}
    for seed in range(3):
        noise, halves = seed / 1000, choose("similar", "cifar10", CIFAR10, seed)
        apart = choose("dissimilar", "cifar10", CIFAR10, seed)
        for number, own in enumerate((halves.a, halves.b, apart.a)):
            write_run(workdir, f"source{number}-{seed}", SOURCE_SEEDS + seed, own, 0.2)
        write_run(workdir, f"base-{seed}", seed, halves.b, 0.2 + noise)
        write_run(workdir, f"apart-{seed}", seed, apart.b, 0.1 + noise)
        for place, cut in enumerate(("conv1", "conv4", "fc7")):
            for kind, worse in losses.items():
                start = {"B": f"source1-{seed}", "A": f"source0-{seed}"}.get(kind[0], "")
                error = 0.2 + worse[place] + noise + seed**2 * 1e-4
                until, frozen = cut * bool(start), cut * (not kind.endswith("+"))
                write_run(workdir, f"{kind}-{cut}-{seed}", seed, halves.b, error, start, until, frozen)
            error = 0.1 + 0.2 * (place + 1) + noise + seed**2 * 1e-4
            write_run(workdir, f"apart-{cut}-{seed}", seed, apart.b, error, f"source2-{seed}", cut, cut)
    return workdir


@pytest.fixture(scope="module")
def study_dir(tmp_path_factory):
    workdir = write_study(tmp_path_factory.mktemp("transferability"))
    transferability.write(workdir)
    return workdir


def test_each_run_is_in_its_cell_and_its_number_of_layers(study_dir):
    found = cells.cell_runs(read_runs(study_dir))
    assert cells.count_layers(read_runs(study_dir)) == {"conv1": 1, "conv4": 4, "fc7": 7}
    assert [cell.name for cell in found][:3] == ["similar base", "similar BnB conv1", "similar BnB conv4"]
    assert [cell.name for cell in found][16:20] == [
        *("dissimilar base", "dissimilar AnB conv1", "dissimilar AnB conv4", "dissimilar AnB fc7"),
    ]
    assert all(len(runs) == 3 for cell, runs in found.items() if cell.kind != cells.SOURCE)
    with open(study_dir / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * (3 + 2 + 15 + 3)
    (row,) = [
        row for row in rows if (row["halves"], row["kind"], row["cut"], row["seed"]) == ("similar", "AnB", "fc7", "1")
    ]
    assert row["layers"] == "7" and float(row["test_error"]) == pytest.approx(0.2911)


def test_the_papers_findings_pass_where_they_hold(study_dir):
    verdicts = {verdict["name"]: verdict for verdict in json.loads((study_dir / "claims.json").read_text())}
    assert len(verdicts) == 8 and {verdict["verdict"] for verdict in verdicts.values()} == {"PASS"}
    assert verdicts["specificity"]["difference"] == pytest.approx(0.09)
    assert verdicts["dissimilar_is_worse"]["difference"] == pytest.approx(0.6 - 0.09)
    assert verdicts["transfer_generalizes_better_than_its_control"]["difference"] == pytest.approx(0.02)
    assert "also differ" not in json.dumps(list(verdicts.values()))
    assert "also differ" not in (study_dir / "report.html").read_text()


def test_the_figure_has_a_line_a_kind_and_a_dot_a_seed(study_dir):
    groups = cells.cell_runs(read_runs(study_dir))
    figure = transferability.figures.accuracy_against_layers(groups, {"conv1": 1, "conv4": 4, "fc7": 7})
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    np.testing.assert_allclose(lines["AnB"].get_ydata(), np.array([0.8, 0.76, 0.71]) - 0.001 - 5e-4 / 3)
    assert sum(line.get_label() == "_seeds" for line in figure.axes[0].get_lines()) == 12
    figure = transferability.figures.loss_against_layers(groups, {"conv1": 1, "conv4": 4, "fc7": 7})
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    np.testing.assert_allclose(lines["layers of A, dissimilar"].get_ydata(), np.array([-0.2, -0.4, -0.6]) - 5e-4 / 3)
