"""Processes as SLURM and Open MPI start them, told by variables: they find each other, and their devices."""

import json
import socket

import numpy as np
import pytest

from tests.killed import FLAGS
from tests.started import Started, read_refusal


def slurm(index, on_each_host):
    """What srun sets for one of two tasks."""
    return {
        **{"SLURM_JOB_ID": "4242", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2"},
        **{"SLURM_PROCID": str(index), "SLURM_STEP_TASKS_PER_NODE": on_each_host},
        "SLURM_LOCALID": "0" if on_each_host == "1(x2)" else str(index),
    }


def open_mpi(index, on_each_host):
    """What mpirun sets for one of two processes."""
    return {
        **{"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911", "OMPI_COMM_WORLD_SIZE": "2"},
        **{"OMPI_COMM_WORLD_RANK": str(index), "OMPI_COMM_WORLD_LOCAL_SIZE": on_each_host},
        "OMPI_COMM_WORLD_LOCAL_RANK": "0" if on_each_host == "1" else str(index),
    }


def both(module, flags, variables):
    """Starts the module as two processes with these variables; returns the lines that each of them printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = {"JAX_COORDINATOR_PORT": str(free.getsockname()[1])}
    one_device = {"jax_num_cpu_devices": 1}
    started = [Started(module, *flags, environment=port | variables(i), settings=one_device) for i in range(2)]
    ends = [process.wait() for process in started]
    assert [end.returncode for end in ends] == [0, 0], "\n".join(end.stderr for end in ends)
    return [[line for line in end.stdout.splitlines() if not line.startswith("[Gloo]")] for end in ends]


@pytest.mark.parametrize(
    ("scheduler", "on_each_host", "gpus"),
    [(slurm, "1(x2)", ["all", "all"]), (slurm, "2", ["0", "1"]), (open_mpi, "1", ["all", "all"])],
)
def test_a_process_alone_on_its_host_has_all_gpus_and_else_the_one_of_its_number(scheduler, on_each_host, gpus):
    said = both("tests.visible_gpus", [], lambda index: scheduler(index, on_each_host))
    assert said == [[f"{index} 2 {gpus[index]} the leader's"] for index in range(2)]


def test_a_run_that_slurm_started_is_the_same_run(digits_dir, tmp_path, undisturbed):
    flags = [*FLAGS, "--distributed", f"--data_dir={digits_dir}", f"--workdir={tmp_path}"]
    first, second = both("experiments.train", flags, lambda index: slurm(index, "1(x2)"))
    assert "test error" in "".join(first) and second == []
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["processes"], len(manifest["devices"])) == (2, 2)
    assert not any(name.startswith("JAX_COORDINATOR") for name in manifest["environment"])
    ours, theirs = (
        [
            [line[name] for name in ("step", "train_loss", "validation_loss", "test_loss")]
            for line in map(json.loads, lines)
        ]
        for lines in ((tmp_path / "run" / "metrics.jsonl").read_bytes().splitlines(), undisturbed[0].splitlines())
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


HOST = "--coordinator_address=127.0.0.1:1"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--distributed"], "do not find each other (coordinator_address should be defined.); start it under SLURM"),
        ([HOST, "--num_processes=2"], "--process_id missing: processes want all of --coordinator_address, --num_proc"),
        ([HOST, "--num_processes=2", "--process_id=2"], "do not find each other (process_id and num_processes must be"),
        ([HOST, "--processes=2"], "--processes starts all of a run's processes here; leave --distributed and the"),
    ],
)
def test_what_is_missing_is_said(flags, told, digits_dir, tmp_path):
    assert told in read_refusal("train", *flags, f"--data_dir={digits_dir}", f"--workdir={tmp_path}")
    assert not list(tmp_path.iterdir())
