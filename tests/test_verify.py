"""A run repeats itself, and `verify` notices where it does not; it touches nothing in the run's folder."""

import json
import shutil

import jax
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax import verify
from cnn_jax.models import build
from cnn_jax.train.task import ERROR
from tests import killed, started
from tests.killed import STEPS


@pytest.fixture(scope="module")
def run(digits_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("verified")
    killed.run(digits_dir, workdir, "--checkpoint_seconds=0", "--devices=1")
    return workdir / "run"


def verified(*flags):
    return started.run_page("verify", "--noprogress", *flags)


def test_a_run_repeats_itself_bit_for_bit(run):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    done = verified(f"--run={run}", "--steps=20")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "steps 1 to 20: 20 of 20 losses are equal bit for bit",
        *(f"evaluation at step {step}: equal bit for bit" for step in (7, 14, 20)),
        "EQUAL",
    ]
    done = verified(f"--run={run}", f"--from={STEPS - 1}")
    assert done.stdout.splitlines() == [
        f"steps {STEPS} to {STEPS}: 1 of 1 losses are equal bit for bit",
        f"evaluation at step {STEPS}: equal bit for bit",
        f"checkpoint {STEPS}: equal bit for bit",
        "EQUAL",
    ]
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}


def test_on_other_devices_it_is_equal_to_rounding(run):
    done = verified(f"--run={run}", "--steps=8", "--devices=2", "--parallel=jit")
    assert done.returncode == 0, done.stderr
    assert "differs from the run: devices: ['cpu'] there, ['cpu', 'cpu'] here" in done.stdout
    assert done.stdout.splitlines()[-1] in ("EQUAL TO ROUNDING", "EQUAL")


def test_what_is_not_what_was_recorded_is_found(run, tmp_path):
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    losses = np.fromfile(changed / "losses.float32", "<f4")
    losses[4] = np.nextafter(losses[4], 9)
    losses.tofile(changed / "losses.float32")
    done = verified(f"--run={changed}", "--steps=8")
    assert done.returncode == 1
    assert "7 of 8 losses are equal" in done.stdout and "the first that differs is step 5's" in done.stdout
    assert done.stdout.endswith("DIFFERENT\n")


def test_evaluations_and_checkpoints_that_differ_are_found(run, tmp_path):
    """Also where versions are others than the run's, which explain rounding and no more."""
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    lines = [json.loads(line) for line in (changed / "metrics.jsonl").read_text().splitlines()]
    lines[-1]["test_loss"] *= 1.01
    (changed / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = json.loads((changed / "manifest.json").read_text())
    manifest["versions"]["jax"] = "0.0.1"
    (changed / "manifest.json").write_text(json.dumps(manifest))
    flags = [f"--run={changed}", f"--from={STEPS - 1}"]
    done = verified(*flags)
    assert done.returncode == 1 and done.stdout.endswith("DIFFERENT\n")
    assert "differs from the run: versions jax: 0.0.1 there, 0." in done.stdout
    assert f"evaluation at step {STEPS}: differs by 9.9e-03, relative" in done.stdout
    shutil.copy(run / "metrics.jsonl", changed)
    meta = changed / "checkpoints" / str(STEPS) / "meta" / "metadata"
    meta.write_text(meta.read_text().replace(json.loads(meta.read_text())["digest"], "0" * 32))
    done = verified(*flags)
    assert done.returncode == 1 and f"checkpoint {STEPS}: differs by inf, relative" in done.stdout


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [(1.0, 1.0, 0.0), (1.0, 2.0, 0.5), (1.0, 0.0, np.inf), (np.nan, 1.0, np.inf), (1.0, np.inf, np.inf)],
)
def test_relative_differences(ours, theirs, expected):
    assert verify.relative_difference(ours, theirs) == expected


def test_the_manifest_says_what_ran_it(run, digits_dir):
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["data_dir"] == str(digits_dir) and manifest["command"].startswith("./launch.sh train --data_dir=")
    assert (manifest["processes"], manifest["accumulate"], manifest["deterministic"]) == (1, 1, False)
    assert manifest["environment"]["JAX_NUM_CPU_DEVICES"] == "2"
    assert manifest["classes"] == {"label": list(map(str, range(10)))}
    assert manifest["headline"] == ERROR._asdict()
    assert manifest["git"] is None or len(manifest["git"]["commit"]) == 40
    session = manifest["sessions"][0]
    assert 0 < session["compile_seconds"] < session["seconds"] > session["first_step_seconds"] > 0


def test_deterministic_is_recorded(digits_dir, tmp_path):
    killed.run(digits_dir, tmp_path, "--set=steps=2", "--set=evaluations=1", "--deterministic")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["deterministic"] is True
    assert "--xla_gpu_deterministic_ops=true" in manifest["environment"]["XLA_FLAGS"]


MAX_POOLING = ["lenet5_full", "alexnet", "vgg11", "googlenet", "googlenet_tv", "resnet18", "squeezenet1_1"]


@pytest.mark.parametrize("name", MAX_POOLING)
def test_no_network_needs_what_xla_cannot_compute_deterministically(name):
    """select-and-scatter, the gradient of XLA's own max-pooling: with --deterministic a GPU refuses to compile it
    (https://github.com/google/flax/issues/4233)."""
    model = build(name)
    image = jax.ShapeDtypeStruct((2, model.image_size, model.image_size, 1 if name == "lenet5_full" else 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)

    def backward(function, *arguments):
        return str(jax.make_jaxpr(jax.grad(lambda *a: function(*a).sum(), argnums=range(len(arguments))))(*arguments))

    def logits(params, image):
        return model.apply({**variables, "params": params}, image)[0]

    assert "select_and" in backward(lambda image: nn.max_pool(image, (2, 2)), image)
    assert "select_and" not in backward(logits, variables["params"], image)


def test_what_cannot_be_verified_is_said(run, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(run, bare)
    (bare / "manifest.json").unlink()
    for flags, said in (
        ([f"--run={run}", "--from=3"], f"keeps no checkpoint of step 3; it keeps {STEPS - 1}, {STEPS}"),
        ([f"--run={run}", f"--from={STEPS}"], f"recorded no loss after step {STEPS}"),
        ([f"--run={tmp_path}"], "is not a run folder"),
        ([f"--run={bare}"], "manifest.json is missing"),
    ):
        assert said in started.read_refusal("verify", *flags)
