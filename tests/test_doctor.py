"""What `doctor` finds here, and what it finds wrong."""

import os
import shutil
import subprocess
import sys

import pytest

from cnn_jax import doctor
from tests import started


def found(data_dir):
    return {finding.subject: finding for finding in doctor.examine(str(data_dir))}


def page(data_dir, **environment):
    command = [sys.executable, "-m", "experiments.doctor", f"--data_dir={data_dir}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=os.environ | environment)


def test_this_machine(digits_dir, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    findings = found(digits_dir)
    assert findings["versions"].state == "OK" and "jax " in findings["versions"].message
    assert findings["devices"].state == "SLOW" and findings["devices"].message.startswith("2 cpu: no accelerator")
    assert findings["digits"] == doctor.Finding("OK", "digits", "1.0.0, train 1,437, test 360")
    assert findings["cifar10"].state == "MISSING"
    assert findings["cifar10"].message == f".venv/bin/python -m cnn_jax.data --dataset=cifar10 --data_dir={digits_dir}"
    assert f"ILSVRC2012_img_val.tar into {digits_dir}/downloads/manual" in findings["imagenet2012"].message
    assert findings["compiled programs"].state == "SLOW"


def test_image_folders_are_found_and_looked_through(insects_dir, tmp_path):
    assert "3 classes, train 33, test 9" in found(insects_dir)["insects"].message
    (tmp_path / "half" / "train" / "cat").mkdir(parents=True)
    half = found(tmp_path)["half"]
    assert half.state == "BROKEN" and "has no images to test on" in half.message
    alone = found(insects_dir / "insects")["train"]
    assert alone.state == "OK" and "train 27, test 6; nothing to test on but what --test_share=0.2" in alone.message


def test_a_package_of_another_version_is_broken(tmp_path):
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text('[project]\nrequires-python = "<3"\ndependencies = ["numpy<2", "nosuchpackage>1", "jax>=0.4"]')
    states = {finding.subject: finding.state for finding in doctor.check_packages(pyproject)}
    assert states == {"versions": "OK", "python": "BROKEN", "numpy": "BROKEN", "nosuchpackage": "BROKEN"}
    assert [finding.state for finding in doctor.check_packages()] == ["OK"]  # what is installed here is what we ask for


def test_a_device_that_does_not_start_is_broken_and_the_rest_is_examined(digits_dir):
    """An accelerator is asked for where there is none, as where its driver is missing."""
    done = page(digits_dir, JAX_PLATFORMS="cuda")
    assert done.returncode == 1, done.stderr
    broken = [line for line in done.stdout.splitlines() if line.startswith("BROKEN")]
    assert len(broken) == 1 and "devices" in broken[0] and "cuda" in broken[0] and "JAX_PLATFORMS=cpu" in broken[0]
    assert "MISSING  imagenet2012" in done.stdout


def test_damaged_sets_are_broken_and_named(digits_dir, tmp_path):
    shutil.copytree(digits_dir, tmp_path, dirs_exist_ok=True)
    (shard,) = tmp_path.glob("digits/*/*train*.array_record*")
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    other = tmp_path / "cifar10" / "3.0.2"
    other.mkdir(parents=True)
    (other / "dataset_info.json").write_text("{no json")
    (tmp_path / "of_something_else").mkdir()
    findings = found(tmp_path)
    assert findings["digits"].state == "BROKEN" and f"data file {shard} is damaged" in findings["digits"].message
    assert findings["cifar10"].state == "BROKEN" and "dataset_info.json" in findings["cifar10"].message
    assert "of_something_else" not in findings
    shard.unlink()
    assert f"data file {shard} is missing" in found(tmp_path)["digits"].message


@pytest.mark.parametrize(("free", "state"), [(2**20, "BROKEN"), (2**30, "SLOW"), (2**40, "OK")])
def test_little_room_is_told(tmp_path, monkeypatch, free, state):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    (finding,) = doctor.check_disk("runs", tmp_path / "not" / "there")
    assert finding.state == state


def test_the_page_ends_well(digits_dir):
    done = page(digits_dir)
    assert done.returncode == 0, done.stderr
    assert "MISSING  imagenet2012" in done.stdout


def test_compiled_programs_that_were_cut_off_are_told_in_one_line_and_deleted(digits_dir, tmp_path, monkeypatch):
    """As by a kill or a full disk while they are written: JAX would warn of them in every run to come."""
    compiled = tmp_path / "compiled"
    flags = ["--model=lenet5_full", "--steps=2", "--set=evaluations=1", "--run=run", "--noprogress"]
    flags += [f"--data_dir={digits_dir}", "--batch_size=32"]
    own = {"jax_compilation_cache_dir": str(compiled)}
    done = started.run_page("train", *flags, f"--workdir={tmp_path / 'whole'}", settings=own)
    assert (done.returncode, done.stderr) == (0, "")
    program = max(compiled.glob("*-cache"), key=lambda path: path.stat().st_size)
    program.write_bytes(program.read_bytes()[:-100])
    command = [sys.executable, "-m", "experiments.train", *flags, f"--workdir={tmp_path / 'cut'}"]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(compiled)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    said = done.stderr
    assert said.startswith("warning: Error reading") and said.endswith("; ./launch.sh doctor mends it\n")
    assert (done.returncode, said.count("\n")) == (0, 1)
    whole, again = ((tmp_path / name / "run" / "metrics.jsonl").read_bytes() for name in ("whole", "cut"))
    assert whole == again
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(compiled))
    finding, healthy = doctor.check_compilation_cache(), doctor.check_compilation_cache()
    assert finding.state == "SLOW" and "1 cut off: these are deleted" in finding.message and not program.exists()
    assert healthy.state == "OK"
