"""Our networks against what is printed about them, and the counting against hand arithmetic."""

import csv
import fcntl
import signal
import subprocess
import sys
from collections import Counter

import jax.numpy as jnp
import pytest
from flax import linen as nn

from cnn_jax import ledger, models
from cnn_jax.layers.conv import Conv
from cnn_jax.layers.dense import Dense
from cnn_jax.layers.geometry import receptive_field
from cnn_jax.layers.pool import TrainablePool, max_pool, mean_pool
from cnn_jax.models.macs import count_macs, macs_by_layer, trace
from cnn_jax.models.published import INCEPTION, ROWS, UNITS, Row
from cnn_jax.models.receptive_fields import receptive_fields
from tests.started import ROOT, read_refusal


@pytest.mark.parametrize("model", dict.fromkeys(row.model for row in ROWS))
def test_nothing_differs_from_what_is_printed(model):
    entries = list(ledger.make_entries(row for row in ROWS if row.model == model))
    assert [entry for entry in entries if entry.verdict == ledger.DIFFERS] == []


def test_every_network_has_its_size_printed():
    sized = {row.model for row in ROWS if row.quantity == "parameters" and row.where == "" and row.unit == ""}
    cifar = {f"{kind}{depth}" for kind in ("plain", "resnet") for depth in (20, 32, 44, 56, 110)}
    assert sized >= models.MODELS.keys() | cifar


def test_rows_say_who_prints_them_and_none_is_there_twice():
    for row in ROWS:
        assert row.source.endswith(("(p)", "(r)", "(c)")), row
        assert row.unit in UNITS and bool(row.ours) == bool(row.deviation), row
    keys = Counter((*row[:1], str(row.settings), *row[2:6]) for row in ROWS)
    assert [key for key, count in keys.items() if count > 1] == []


def printed(value, unit="", deviation="", ours=""):
    return Row("resnet20", {}, "parameters", "", value, unit, "Table 6 (p)", ours, deviation)


@pytest.mark.parametrize(
    ("row", "ours", "verdict"),
    [
        (printed("269722"), "269722", ledger.EQUAL),
        (printed("269722"), "269723", ledger.DIFFERS),
        (printed("0.27", "10^6"), "269722", ledger.ROUNDED),
        (printed("0.27", "10^6"), "264999", ledger.DIFFERS),
        (printed("0.270", "10^6"), "269499", ledger.DIFFERS),
        (printed("1000", "K"), "1024000", ledger.ROUNDED),
        (printed("3.8", "10^9", "why", "3857973248"), "3857973248", ledger.DEVIATION),
        (printed("3.8", "10^9", "why", "3857973248"), "3857973249", ledger.DIFFERS),  # not the number that is explained
        (printed("3.9", "10^9", "why", "3857973248"), "3857973248", ledger.DIFFERS),  # nothing is left to explain
        (printed("28x28x6")._replace(quantity="shape"), "28x28x6", ledger.EQUAL),
        (printed("28x28x6")._replace(quantity="shape"), "28x28x16", ledger.DIFFERS),
    ],
)
def test_verdicts(row, ours, verdict):
    assert ledger.judge(row, ours) == verdict


def test_the_page_marks_deviations_and_writes_what_it_shows(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "experiments.ledger", f"--csv={tmp_path}/new/ledger.csv"]
    done = subprocess.run([*command, "--models=alexnet"], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader((tmp_path / "new" / "ledger.csv").read_text().splitlines()))
    assert len(rows) == sum(row.model == "alexnet" for row in ROWS)
    (neurons,) = (row for row in rows if (row["quantity"], row["where"]) == ("units", "conv1"))
    assert (neurons["value"], neurons["ours"], neurons["verdict"]) == ("253440", "290400", "named deviation")
    assert [line for line in done.stdout.splitlines() if line.startswith("~ units conv1 ")]
    assert "did you mean alexnet" in read_refusal("ledger", "--models=alexnt")


def test_a_layer_that_is_not_there_is_no_zero():
    with pytest.raises(KeyError, match="no fc9 among"):
        ledger.compute_quantity(Row("alexnet", {}, "units", "fc9", "1", "", "(p)", "", ""))


def test_the_connections_of_lenet_are_the_sum_of_its_layers():
    by_layer = {row.where: int(row.value) for row in ROWS if row.quantity == "connections"}
    assert by_layer.pop("") == sum(by_layer.values())


def test_googlenets_first_row_is_a_separable_convolution():
    first = {table.quantity: table.values["conv1"] for table in INCEPTION if "conv1" in table.values}
    weights = 7 * 7 * 3 * 8 + 3 * 8 * 64
    assert (first["weights"], first["macs"]) == ("2.7", "34")
    assert weights == 2712 and round(weights / 1000, 1) == 2.7 and round(weights * 112 * 112 / 1e6) == 34


class Layers(nn.Module):
    """Each layer that counts, one after another, with the pooling that does not."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):  # (1, 12, 12, 4)
        x = Conv(6, 3, stride=2, groups=2, dtype=self.dtype, name="grouped")(x)  # (1, 6, 6, 6)
        x = Conv(5, 3, padding=0, dilation=2, use_bias=True, dtype=self.dtype, name="dilated")(x)  # (1, 2, 2, 5)
        x = mean_pool(max_pool(x, 3, 1, padding=1), 3, 1, padding=1)
        x = TrainablePool(1, name="pool")(x)
        fc1 = Dense(7, 2, dtype=self.dtype, name="fc1")(x)  # (1, 7)
        slid = Dense(3, 1, dtype=self.dtype, name="slid")(x)  # (1, 2, 2, 3)
        return nn.Dense(9, dtype=self.dtype, name="fc2")(fc1) @ jnp.zeros((9, 2)), {"slid": slid, "fc1": fc1}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])  # the package's kernels, where there are any, and XLA's
def test_multiply_adds_by_hand(dtype):
    by_hand = {
        "grouped": 6 * 6 * 6 * (3 * 3 * 4 // 2),
        "dilated": 2 * 2 * 5 * (3 * 3 * 6),
        "fc1": 7 * 2 * 2 * 5,
        "slid": 2 * 2 * 3 * 5,
        "fc2": 7 * 9,
        "": 9 * 2,
    }
    assert macs_by_layer(trace(Layers(dtype), (12, 12, 4))) == by_hand
    assert count_macs(Layers(dtype), (12, 12, 4)) == sum(by_hand.values())


def test_a_scanned_stage_counts_as_often_as_it_runs():
    network, scanned = (trace(models.build("resnet20", scan=scan), (32, 32, 3)) for scan in (False, True))
    assert sum(macs_by_layer(network).values()) == sum(macs_by_layer(scanned).values())
    assert receptive_fields(network) == receptive_fields(scanned)


def test_receptive_fields_are_the_arithmetic_of_windows():
    fields = receptive_fields(trace(Layers(jnp.float32), (12, 12, 4)))
    windows = [(3, 2, 1), (3, 1, 2), (3, 1, 1), (3, 1, 1)]
    assert fields["slid"].size == receptive_field(windows) == 19
    assert (fields["slid"].step, fields["slid"].layers, fields["logits"].layers) == (2, 3, 5)
    # Centred on what it comes from: the unpadded dilated convolution alone moves it, by two of its input's pixels.
    assert (fields["slid"].first, fields["slid"].last) == (-1 - 2 * 2, -1 - 2 * 2 + 18)


def test_vgg16_slid_over_a_larger_image_sees_404_pixels():
    """Chen et al. 2015 (https://arxiv.org/abs/1412.7062): 404 pixels where it is applied convolutionally."""
    assert receptive_fields(trace(models.build("vgg16"), (256, 256, 3)))["fc6"].size == 404


def test_a_reader_that_has_seen_enough_is_no_error():
    """What is left to write is more than the pipe holds."""
    command = [sys.executable, "-m", "experiments.ledger", "--models=lenet5,alexnet,vgg16,resnet34"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        process.stdout.readline()
        process.stdout.close()
        assert (process.wait(timeout=100), process.stderr.read()) == (128 + signal.SIGPIPE, b"")
