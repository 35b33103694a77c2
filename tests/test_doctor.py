"""What `doctor` finds here, and what it finds wrong."""

import subprocess
import sys

import pytest

from cnn_jax import doctor
from tests.test_stream import folder as folder  # noqa: F401  (a fixture)


def found(data_dir):
    return {finding.what: finding for finding in doctor.examine(str(data_dir))}


def test_this_machine(digits_dir, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    findings = found(digits_dir)
    assert findings["versions"].state == "OK" and "jax " in findings["versions"].said
    assert findings["devices"].state == "SLOW" and findings["devices"].said.startswith("2 cpu: no accelerator")
    assert findings["digits"] == doctor.Finding("OK", "digits", "1.0.0, train 1,437, test 360")
    assert findings["cifar10"].state == "MISSING"
    assert findings["cifar10"].said == f".venv/bin/python -m cnn_jax.data --dataset=cifar10 --data_dir={digits_dir}"
    assert f"ILSVRC2012_img_val.tar into {digits_dir}/downloads/manual" in findings["imagenet2012"].said
    assert findings["compiled programs"].state == "SLOW"


def test_image_folders_are_found_and_looked_through(folder, tmp_path):  # noqa: F811
    assert "3 classes, train 33, test 9" in found(folder)["insects"].said
    (tmp_path / "half" / "train" / "cat").mkdir(parents=True)
    half = found(tmp_path)["half"]
    assert half.state == "BROKEN" and "has no images to test on" in half.said


def test_a_package_of_another_version_is_broken(monkeypatch):
    monkeypatch.setattr(
        doctor.metadata, "requires", lambda _: ["numpy<2", "nosuchpackage>1", "torch>1; extra == 'bench'"]
    )
    states = {finding.what: finding.state for finding in doctor.packages()}
    assert states == {"versions": "OK", "numpy": "BROKEN", "nosuchpackage": "BROKEN"}


@pytest.mark.parametrize(("free", "state"), [(2**20, "BROKEN"), (2**30, "SLOW"), (2**40, "OK")])
def test_little_room_is_told(tmp_path, monkeypatch, free, state):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    (finding,) = doctor.room("runs", tmp_path / "not" / "there")
    assert finding.state == state


def test_the_page_ends_well(digits_dir):
    command = [sys.executable, "-m", "experiments.doctor", f"--data_dir={digits_dir}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "MISSING  imagenet2012" in done.stdout
