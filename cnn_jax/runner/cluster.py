"""Runs as tasks of a Ray cluster: each on whichever node has room for it, continued on another where its node is lost.

The nodes see the workdir and the data at the same paths, and have this package installed.
"""

import contextlib
import logging
import os
import secrets
import socket
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

import cnn_jax
from cnn_jax.config import Config, ConfigError
from cnn_jax.runner.one import MEMORY_ADVICE, Outcome, record_failure, try_run
from cnn_jax.runner.settings import Settings
from cnn_jax.runner.view import View
from cnn_jax.runner.workers import MAX_TRIES, describe_hang
from cnn_jax.train import record
from cnn_jax.train.signals import Stopped, stop_signals

LOCK_SECONDS = 120.0  # for which shared storage may hold the lock of a node that is gone; NFS has leases of 90
CONNECT_SECONDS = 10.0  # in which a cluster's first node answers
MAX_LOST_NODES = 10  # nodes that a run may lose
STOP_SECONDS = 120.0  # in which runs that are told to stop save
OBJECT_STORE_BYTES = 100 * 2**20  # of a cluster of this machine alone: what is passed around is configs and results
FORWARDED_VARIABLES = ("JAX_", "XLA_", "TF_CPP_", "GLIBC_TUNABLES", "CNN_JAX_NATIVE", "XDG_CACHE_HOME", "CXX")


def use_cpu_only(count: int) -> None:
    """Gives this process, which computes nothing, `count` CPU devices to stand for a run's own; before it has any."""
    wanted = {"jax_platforms": "cpu", "jax_num_cpu_devices": count}
    for name, value in wanted.items():
        if getattr(jax.config, name) != value:
            jax.config.update(name, value)


def run_on_ray(todo: Mapping[Path, Config], settings: Settings) -> Iterator[Outcome]:
    """Every run a task with the resources of the settings.

    A run whose node is lost is continued on another from its checkpoint; one whose process dies or hangs is tried once
    more, then failed alone.

    Raises:
      ConfigError: there is no Ray cluster at the address.
      Stopped: a signal arrived; all runs at hand are saved.
    """
    ray, connected_here = connect(settings)
    try:
        with stop_signals() as signals, View(todo, settings.progress) as view:
            yield from Runs(ray, todo, settings, view, signals).outcomes()
    finally:
        if connected_here:
            ray.shutdown()


def connect(settings: Settings) -> tuple[ModuleType, bool]:
    """Ray, connected, and whether it is this that connected it; raises ConfigError."""
    local = settings.ray_address == "local"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as will be Ray's default, of which it warns
    if local:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # then it listens on 127.0.0.1 alone
    import ray

    if ray.is_initialized():
        return ray, False
    alone: dict[str, Any] = {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False} if local else {}
    try:
        require_listener(settings.ray_address)
        with warnings.catch_warnings():
            # JAX warns of forks; those by which Ray starts its processes here are followed by an exec at once.
            warnings.filterwarnings("ignore", r"os.fork\(\) was called", RuntimeWarning)
            ray.init(settings.ray_address, log_to_driver=False, logging_level=logging.ERROR, **alone)
    except Exception as error:  # OSError; Ray raises RuntimeError, ValueError, TimeoutError and its own
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"--ray_address={settings.ray_address}: no Ray cluster is reached ({reason}); start one by `ray start "
            "--head`, name one, or take --ray_address=local, a cluster of this machine alone"
        ) from error
    return ray, True


def require_listener(address: str) -> None:
    """Raises OSError where nobody listens at host:port, for which Ray itself would wait for minutes."""
    host, colon, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


class Runs:
    """The tasks under way, which say in worker.json where they are."""

    def __init__(
        self, ray: ModuleType, todo: Mapping[Path, Config], settings: Settings, view: View, signals: list[int]
    ):
        self.ray, self.todo, self.settings, self.view, self.signals = ray, todo, settings, view, signals
        self.tasks: dict[Any, Path] = {}
        self.submitted: dict[Path, str] = {}  # what each task's worker.json will say it is
        self.tries, self.lost, self.hung = Counter[Path](), Counter[Path](), set[Path]()
        self.place: dict[Path, str] = {}
        # Ray's own retries would take a run that fells its node, or its process, for one that met with bad luck.
        options = {"max_retries": 0, "runtime_env": {"env_vars": environment(settings)}}
        self.task = ray.remote(run).options(num_cpus=settings.cpus_per_run, num_gpus=settings.gpus_per_run, **options)

    def outcomes(self) -> Iterator[Outcome]:
        """Each when it is there."""
        self.warn_if_no_room()
        for folder in self.todo:
            self.submit(folder)
        try:
            while self.tasks:
                ready, _ = self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=1.0)
                if self.signals:
                    break
                for task in ready:
                    outcome = self.outcome(task)
                    if outcome is not None:
                        self.view.end(outcome)
                        yield outcome
                self.find_started()
                self.view.refresh()
                for folder in set(self.view.find_hung(self.settings.hung_seconds)) - self.hung:
                    self.hung.add(folder)
                    task = next(task for task, place in self.tasks.items() if place == folder)
                    self.ray.cancel(task, force=True)
        finally:
            saved = self.stop()
        if self.signals:
            summary = (
                "the runs are saved" if saved else "some runs did not end in time and are at their last checkpoint"
            )
            raise Stopped(f"{summary}; the same command continues", self.signals[0])

    def warn_if_no_room(self) -> None:
        """Says where no node has room for a run, which then waits: a cluster may grow."""
        wanted = {"CPU": self.settings.cpus_per_run, "GPU": self.settings.gpus_per_run}
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= count for name, count in wanted.items()) for node in nodes):
            needs = " and ".join(f"{count:g} {name}" for name, count in wanted.items() if count)
            print(f"no node of the Ray cluster has {needs}: the runs wait for one", flush=True)

    def submit(self, folder: Path) -> None:
        data_dir = self.settings.data_dir and str(Path(self.settings.data_dir).expanduser().absolute())
        settings = self.settings._replace(
            executor="local", data_dir=data_dir, lock_seconds=LOCK_SECONDS, progress=False, signals=None
        )
        self.submitted[folder] = secrets.token_hex(8)
        task = self.task.remote(self.todo[folder], folder.absolute(), settings, self.submitted[folder])
        self.tasks[task] = folder

    def find_started(self) -> None:
        """Looks which of the tasks that were submitted have begun, and where."""
        for folder, name in list(self.submitted.items()):
            with contextlib.suppress(record.RecordError):
                content = record.read_json(folder / "worker.json")
                if content and content["task"] == name:
                    del self.submitted[folder]
                    self.place[folder] = content["place"]
                    self.view.begin(folder, content["place"])

    def outcome(self, task: Any) -> Outcome | None:
        """How the run ended; None where it is to be continued."""
        folder, errors = self.tasks.pop(task), self.ray.exceptions
        self.submitted.pop(folder, None)
        place = self.place.pop(folder, "just chosen")
        try:
            outcome = self.ray.get(task)
        except (errors.NodeDiedError, errors.LocalRayletDiedError):
            return self.retry(folder, f"its node ({place}) is lost", self.lost, MAX_LOST_NODES)
        except errors.OutOfMemoryError:
            return self.retry(
                folder, f"Ray ended it, its node being out of memory; {MEMORY_ADVICE}", self.tries, MAX_TRIES
            )
        except (errors.WorkerCrashedError, errors.TaskCancelledError):
            reason = f"its process ({place}) died, perhaps out of memory; {MEMORY_ADVICE}"
            return self.retry(
                folder, describe_hang(self.settings) if folder in self.hung else reason, self.tries, MAX_TRIES
            )
        except errors.RayError as error:
            return record_failure(folder, f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}")
        if outcome is None:
            return self.retry(folder, f"its node ({place}) told it to end", self.lost, MAX_LOST_NODES)
        return outcome._replace(folder=folder)

    def retry(self, folder: Path, reason: str, count: Counter[Path], limit: int) -> Outcome | None:
        """Has the run continued, or fails it where that was done often enough."""
        count[folder] += 1
        self.hung.discard(folder)
        if count[folder] >= limit:
            return record_failure(folder, reason)
        self.view.wait(folder, reason)
        self.submit(folder)
        return None

    def stop(self) -> bool:
        """Has all tasks save and end; returns whether all did in time."""
        left, until = list(self.tasks), time.monotonic() + STOP_SECONDS
        for task in left:
            self.ray.cancel(task)  # the run sees it as Ctrl-C
        while left and time.monotonic() < until:
            _, left = self.ray.wait(left, num_returns=len(left), timeout=1.0)
        return not left


def environment(settings: Settings) -> dict[str, str]:
    """The environment variables of a run's process: those of this one that matter, and its devices."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(FORWARDED_VARIABLES)}
    variables["JAX_NUM_CPU_DEVICES"] = str(settings.devices_per_run)
    package_folder = str(Path(cnn_jax.__file__).parents[1])
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [package_folder, os.environ.get("PYTHONPATH")]))
    if settings.gpus_per_run == 0:
        variables["JAX_PLATFORMS"] = "cpu"
    else:
        variables.pop("JAX_PLATFORMS", None)
        if settings.gpus_per_run < 1:  # JAX takes three quarters of a GPU as it starts
            variables.setdefault("XLA_CLIENT_MEM_FRACTION", f"{0.9 * settings.gpus_per_run:.3f}")
    return variables


def run(config: Config, folder: Path, settings: Settings, name: str) -> Outcome | None:
    """On a node: the run's outcome, None where it was told to end and has saved."""
    record.require_writable(folder)
    place = folder / "worker.json"
    record.write_json(place, {"task": name, "place": f"{socket.gethostname()} process {os.getpid()}"})
    try:
        return try_run(config, folder, settings)
    except Stopped:
        return None
    finally:
        place.unlink(missing_ok=True)
