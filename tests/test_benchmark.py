import importlib.util
import json
import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from cnn_jax import models
from cnn_jax.benchmark import convolutions, growth
from cnn_jax.benchmark import ours as our_side
from cnn_jax.benchmark.measure import OURS, PEERS, Measurement, check, format_table, measure
from cnn_jax.benchmark.turns import (
    BenchmarkError,
    SideProcess,
    Workload,
    peak_resident_bytes,
    require_peer,
    time_alternately,
)
from cnn_jax.benchmark.twins import TORCHVISION, cifar_depth, require_same
from cnn_jax.models import published
from cnn_jax.models.macs import count_macs
from tests import started
from tests.started import read_refusal

TINY = Workload("resnet8", batch_size=8, image_size=8, width=4, dtype="float32", threads=1)
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch, extra bench, not installed"
)


# He et al. 2016, 4.2, in millions; counted by hand from the paper's description of the family.
@pytest.mark.parametrize(("name", "millions"), [("resnet20", 40.55), ("plain20", 40.55), ("resnet56", 125.49)])
def test_macs_are_those_of_the_paper(name, millions):
    assert count_macs(models.build(name, num_classes=10), (32, 32, 3)) / 1e6 == pytest.approx(millions, abs=0.005)


def test_projections_add_their_macs():
    with_a, with_b = (
        count_macs(models.build("resnet8", num_classes=10, shortcut_option=option), (32, 32, 3)) for option in "AB"
    )
    assert with_b - with_a == 16 * 16 * 16 * 32 + 8 * 8 * 32 * 64


def test_our_side_takes_the_step_of_the_sweep():
    with SideProcess(OURS, TINY) as ours:
        assert ours.facts["parameters"] == 5_006  # 72 more than of digits, which have one channel
        assert ours.facts["macs"] == count_macs(models.build("resnet8", num_classes=10, width=4), (8, 8, 3))
        assert 0 < ours.facts["compile_seconds"] < ours.facts["first_step_seconds"]
        seconds, none = time_alternately(ours, None, rounds=2, steps=3)
        assert len(seconds) == 2 and none == []
        timed = ours.ask("steps", count=2)
        assert 0 < timed["input_seconds"] < timed["seconds"]
        assert ours.ask("memory")["peak_bytes"] > 50e6
        with pytest.raises(BenchmarkError, match="ended with exit status 1: KeyError: 'sing'"):
            ours.ask("sing")


def test_our_side_evaluates():
    facts, commands = our_side.set_up(replace(TINY, inference=True, started=time.time()))
    assert facts["parameters"] == 5_006
    assert 0 < commands["steps"](count=2)["seconds"]
    memory = commands["memory"]()
    assert 0 < memory["import_bytes"] <= memory["peak_bytes"]


def test_memory_is_this_process_s_own():
    held = peak_resident_bytes()
    assert 50e6 < held
    pages = np.ones(200_000_000, np.uint8)
    assert peak_resident_bytes() >= max(held, pages.nbytes)


def test_random_images_are_whole_batches():
    """As many as CIFAR's 2,048 in pixels, and two batches at least."""
    counts = {
        (size, batch): len(replace(TINY, image_size=size, batch_size=batch).examples()[1])
        for size, batch in ((32, 128), (224, 16), (64, 100), (8, 1500))
    }
    assert counts == {(32, 128): 2048, (224, 16): 32, (64, 100): 500, (8, 1500): 3000}


def test_what_torchvision_prints_the_size_of_has_a_twin():
    printed = {row.model for row in published.ROWS if row.source == published.TORCHVISION}
    assert TORCHVISION.keys() == printed


def test_a_network_without_a_twin_is_told_before_anything_runs():
    check(replace(TINY, model="googlenet"), None)
    with pytest.raises(BenchmarkError, match="the PyTorch peer has no googlenet: it has alexnet_owt, vgg11, .*20"):
        check(replace(TINY, model="googlenet"), "torch")
    assert [cifar_depth(name) for name in ("plain20", "resnet110", "resnet50", "resnet21")] == [20, 110, None, None]


def test_different_networks_are_not_compared():
    ours = {"parameters": 11_173_962, "macs": 1000, "versions": {}}
    require_same("resnet18", "torch", ours, {"parameters": 11_173_962, "macs": 1000})
    with pytest.raises(BenchmarkError, match="resnet18 is not the same .* 1,000 multiply-adds here, .* 999 multiply"):
        require_same("resnet18", "torch", ours, {"parameters": 11_173_962, "macs": 999})


@needs_torch
@pytest.mark.parametrize("name", TORCHVISION)
def test_twins_are_of_the_published_size(name):
    """At 1,000 classes and 224 pixels, where ours are what torchvision prints, see test_ledger."""
    import torch

    from cnn_jax.benchmark.torch_networks import build, count_macs

    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in build(name, classes=1000).parameters())
    rows = [row for row in published.ROWS if row.model == name and row.source.endswith("(r)")]
    assert str(parameters) in {row.value for row in rows if row.quantity == "parameters"}
    v1 = {"resnet50": 3_857_973_248, "resnet101": 7_570_194_432, "resnet152": 11_282_415_616}  # He et al., not v1.5
    printed = next(row.value for row in rows if row.quantity == "macs" and row.unit == "10^9")
    macs = count_macs(name, None, 224, 1000)
    assert macs == v1[name] if name in v1 else float(printed) == pytest.approx(macs / 1e9, abs=5e-4)


@needs_torch
@pytest.mark.parametrize("peer", ["torch", "torch_compiled"])
@pytest.mark.parametrize("inference", [False, True])
def test_the_peer_is_the_same_network(peer, inference):
    measured = measure(replace(TINY, inference=inference), peer, steps=4)
    assert measured.peer is not None and measured.peer["ratio"] > 0 and measured.peer["name"] == peer
    assert 0 < measured.peer["import_bytes"] < measured.peer["peak_bytes"]


@needs_torch
def test_a_peer_that_cannot_compile_says_what_to_do(tmp_path):
    environment = {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    with pytest.raises(BenchmarkError, match="torch.compile fails here: .*compiler.*; --peer=torch does without"):
        SideProcess(PEERS["torch_compiled"], TINY, environment)


@needs_torch
def test_the_peer_crops_and_mirrors():
    import torch

    from cnn_jax.benchmark.torch_peer import augment

    torch.manual_seed(0)
    image = torch.arange(1, 1 + 64 * 6 * 6 * 3, dtype=torch.int32).reshape(64, 6, 6, 3)
    x = augment(image, torch.zeros(6, 6, 3), pad=2).permute(0, 2, 3, 1).numpy() * 255
    padded = np.pad(image.numpy(), [(0, 0), (2, 2), (2, 2), (0, 0)])
    seen = set()
    for crop, source in zip(np.round(x).astype(int), padded, strict=True):
        found = [
            (i, j, flip)
            for i in range(5)
            for j in range(5)
            for flip in (1, -1)
            if np.array_equal(crop, source[i : i + 6, j : j + 6][:, ::flip])
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 30


def measurement(depth, kind="resnet"):
    return Measurement(
        model=f"{kind}{depth}",
        parameters=13_500 * depth,
        macs=2_000_000 * depth,
        images_per_second=128 / (0.01 + 0.005 * depth),
        step_seconds=0.01 + 0.005 * depth,
        spread=(90.0, 110.0),
        input_share=0.001,
        compile_seconds=3 + 0.1 * depth,
        first_step_cold=9.0,
        first_step_warm=4.0,
        peak_bytes=depth * 10_000_000,
        import_bytes=100_000_000,
        peak_share=0.5,
        facts={},
        peer=None,
    )


def test_growth_finds_the_straight_line(tmp_path):
    measured = [measurement(depth, kind) for kind in ("plain", "resnet") for depth in (56, 20, 32)]
    fits = growth.write(measured, tmp_path, "a machine")
    assert "residual step: 0.01 s + 0.0025 s a million MACs, R2 1.0000" in fits
    assert "plain compilation, nothing cached: 3 s + 0.1 s a layer, R2 1.0000" in fits
    assert len(fits) == 6
    assert {path.name for path in tmp_path.iterdir()} == {
        "benchmark.csv",
        "benchmark.jsonl",
        "cost_against_depth.png",
        "cost_against_depth.svg",
    }
    rows = (tmp_path / "benchmark.csv").read_text().splitlines()
    assert rows[1].startswith("plain56,56,756000,112000000,")
    assert [json.loads(line)["model"] for line in (tmp_path / "benchmark.jsonl").read_text().splitlines()][:2] == [
        "plain56",
        "plain20",
    ]


def test_no_line_through_two_points(tmp_path):
    assert growth.write([measurement(20), measurement(32)], tmp_path, "a machine") == []
    assert not list(tmp_path.glob("*.png"))


def test_a_crooked_cost_says_so():
    fit = growth.fit([1, 2, 3, 4], [1, 4, 2, 3])
    assert fit.r2 < 0.2


def test_table_has_a_line_a_model():
    lines = format_table([measurement(20), measurement(110)]).splitlines()
    assert re.search(r"resnet110 .* 9\.0 / 4\.0 .* 1100 \(\+1000\) .* 50%", lines[2])


def test_the_page_writes_its_table(tmp_path):
    flags = ["--models=plain8", "--batch_size=8", "--image_size=8", "--width=4", "--steps=4", "--noprogress"]
    command = [sys.executable, "-m", "experiments.benchmark", *flags, f"--workdir={tmp_path}/out"]
    done = subprocess.run([*command, f"--profile={tmp_path}/trace"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["parameters"] == 5_006 and line["peer"] is None
    assert line["first_step_warm"] < line["first_step_cold"]
    assert 0 < line["peak_share"] < 1
    assert (tmp_path / "out" / "benchmark.csv").read_text().count("\n") == 2
    assert list(tmp_path.glob("trace/plain8/**/perfetto_trace.json.gz"))


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed")
def test_a_missing_peer_is_one_line():
    with pytest.raises(BenchmarkError, match="--peer=torch wants torch: EXTRAS=bench"):
        require_peer("torch", "benchmark")


def test_convolution_shapes_are_timed():
    shape = convolutions.Shape("tiny", 6, 3, 5, stride=2)
    times = convolutions.measure(shape, batch_size=2, rounds=2)
    assert times.keys() == set(convolutions.KINDS)
    assert all(milliseconds > 0 for pair in times.values() for milliseconds in pair)


def test_the_loader_is_timed(insects_dir, tmp_path):
    flags = [
        "--size=24",
        "--batch_size=4",
        "--batches=2",
        "--rounds=1",
        "--workers=0,1",
        "--pixels=uint8",
        "--noprogress",
    ]
    found = [f"--data_dir={insects_dir}", f"--workdir={tmp_path}"]
    done = started.run_page("input_benchmark", "--dataset=insects", *found, *flags)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "input.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    assert [row[:2] for row in rows] == [["0", "uint8"], ["1", "uint8"]] and all(int(row[2]) > 0 for row in rows)
    assert "crops of 24 pixels, mirrored, batches of 4, from insects" in text and "grain " in text
    assert "--dataset=beetles is no image folder of --data_dir" in read_refusal(
        "input_benchmark", "--dataset=beetles", *found
    )
