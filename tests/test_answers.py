"""What is said of each image, and of the classes by it, against scikit-learn; and what an evaluation leaves behind."""

import csv

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from cnn_jax import evaluation
from cnn_jax.evaluation import Protocol, answers, writing
from cnn_jax.evaluation.answers import NONE, Answers
from cnn_jax.report.confusion import LETTERS, shorten
from cnn_jax.tasks.classification import loss_and_error
from tests.test_evaluation import ONE, TWO, averaged, labelled, tiny

NAMES = tuple("ant bee cow dog elk fox".split())


def drawn(count=200, classes=6):
    """Answers drawn at random, half of them right; no image is of the last class."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, classes - 1, count).astype(np.int32)
    order = np.argsort(draw.random((count, classes)), axis=1).astype(np.int32)[:, :5]
    order[::2, 0] = labels[::2]
    chances = -np.sort(-draw.random((count, 5)).astype(np.float32), axis=1)
    return Answers(order, chances, labels, {}, 1.0)


def test_confusions_and_accuracies_are_scikit_learns():
    said = drawn()
    confused = answers.confusion(said.labels, said.said, 6)
    np.testing.assert_array_equal(confused, metrics.confusion_matrix(said.labels, said.said, labels=range(6)))
    rows = answers.accuracies(said.labels, said.said, 6)
    recalls = metrics.recall_score(said.labels, said.said, labels=range(5), average=None)
    np.testing.assert_allclose([row["accuracy"] for row in rows[:5]], recalls, rtol=1e-12)
    assert rows[5] == {"examples": 0, "right": 0, "accuracy": None}


def test_the_most_confused_are_the_largest_off_the_diagonal():
    confused = np.array([[9, 2, 0], [5, 9, 2], [0, 0, 0]])
    assert answers.most_confused(confused, 5) == [(1, 0, 5), (0, 1, 2), (1, 2, 2)]
    assert answers.most_confused(confused, 1) == [(1, 0, 5)]


def test_the_surest_mistakes_are_wrong_and_in_order():
    said = drawn()
    worst = answers.confident_mistakes(said, 10)
    chances = said.probabilities[worst, 0]
    assert (said.said[worst] != said.labels[worst]).all() and (np.diff(chances) <= 0).all()
    assert (said.probabilities[said.said != said.labels, 0] > chances[-1]).sum() == 9


def test_what_is_said_is_what_the_error_counts():
    """Ties and numbers that are not finite among them."""
    logarithms = np.random.default_rng(0).integers(-4, 0, (300, 12)).astype(np.float32)
    logarithms[::7, 3] = np.nan
    logarithms[::11, 5] = -np.inf
    label = np.random.default_rng(1).integers(0, 12, 300).astype(np.int32)
    said = answers.likeliest(jnp.asarray(logarithms))
    _, error = loss_and_error(jnp.asarray(logarithms), jnp.asarray(label))
    np.testing.assert_array_equal(said["classes"][:, 0] != label, error)
    assert said["classes"].shape == (300, 5) and (said["classes"][::7] == NONE).all()
    assert np.isnan(said["probabilities"][::11]).all()


@pytest.mark.parametrize("layout", [ONE, TWO], ids=["one", "two"])
def test_every_example_is_answered_once_in_order(layout):
    network, examples = tiny(width=4), labelled(7, 8, 8)
    by_hand = averaged(network, examples["image"], Protocol())
    said = evaluation.answer(network, examples, Protocol(), layout, batch_size=4)
    order = np.argsort(-by_hand, axis=1)[:, :5]
    np.testing.assert_array_equal(said.classes, order)
    np.testing.assert_allclose(said.probabilities, np.take_along_axis(by_hand, order, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(said.labels, examples["label"])
    assert said.means["error"] == np.mean(said.said != examples["label"])


def test_the_labels_may_be_of_another_field():
    network, examples = tiny(width=4), labelled(7, 8, 8)
    named = {"image": examples["image"], "species": examples["label"]}
    said = evaluation.answer(network, named, Protocol(), ONE, label="species")
    np.testing.assert_array_equal(said.labels, examples["label"])
    assert "error" in said.means


def test_without_labels_there_is_no_error():
    said = evaluation.answer(tiny(width=4), {"image": labelled(3, 8, 8)["image"]}, Protocol(), ONE)
    assert (said.labels == NONE).all() and said.means.keys() == {"examples", "images_per_second"}


def read(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_the_files_of_an_evaluation_say_the_same(tmp_path):
    said, images = drawn(), {"image": labelled(200, 8, 8)["image"]}
    text = writing.write(tmp_path, said, NAMES, images, "a net on insects, test")
    matrix = read(tmp_path / "confusion.csv")
    assert matrix[0] == ["true class", *(f"{number} {name}" for number, name in enumerate(NAMES))]
    theirs = metrics.confusion_matrix(said.labels, said.said, labels=range(6))
    np.testing.assert_array_equal([[int(cell) for cell in row[1:]] for row in matrix[1:]], theirs)
    rows = read(tmp_path / "classes.csv")
    assert rows[0] == ["number", "class", "examples", "right", "accuracy", "mistaken_for", "mistaken"]
    assert rows[-1] == ["5", "fox", "0", "0", "", "", "0"]
    other = int(np.delete(theirs[1], 1).argmax())
    assert rows[2][5:] == [NAMES[other + (other >= 1)], str(np.delete(theirs[1], 1).max())]
    assert f"{100 * theirs[0, 0] / theirs[0].sum():.2f}" in text.splitlines()[1]
    assert not any(line.startswith("fox") for line in text.splitlines())
    assert {path.name for path in tmp_path.iterdir()} == {
        "classes.csv", "confusion.csv", "confusion.png", "confusion.svg", "mistakes.png"
    }  # fmt: skip


def test_of_many_classes_the_worst_are_printed_and_the_pairs_drawn(tmp_path):
    names = [f"kind {number}" for number in range(150)]
    labels = np.arange(150, dtype=np.int32)
    wrong = np.where(labels < 3, 7, labels)[:, None]
    said = Answers(wrong, np.full((150, 1), 0.5, np.float32), labels, {}, 1.0)
    text = writing.write(tmp_path, said, names, {"image": labelled(150, 8, 8)["image"]}, "a net")
    assert text.splitlines()[1].split() == ["kind", "0", "1", "0.00", "kind", "7"]
    assert "the worst of 150 classes" in text and len(read(tmp_path / "confusion.csv")) == 151


def test_long_names_keep_their_beginning_and_end():
    assert shorten("tench, Tinca tinca") == "tench"
    short = shorten("a name that goes on for long and ends with number 17")
    assert len(short) == LETTERS and short.startswith("a name that") and short.endswith("number 17")
