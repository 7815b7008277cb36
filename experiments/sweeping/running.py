"""One trial: it trains, then evaluates, as the programs do by themselves, and what became of it stays in its folder.

    trials/HASH/trial.json   point, seed, state, seconds, and for a failure the last lines of its output
    trials/HASH/log.txt      everything its programs printed (in a bucket, log/)
    trials/HASH/run/         the workdir of geodesic train and geodesic evaluate
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import psutil

from geodesic.configs.stored import as_dict
from geodesic.experiments.process import lease, storage, workdir
from geodesic.experiments.sweeping import logs
from geodesic.experiments.sweeping.trials import Trial

_LOOK_SECONDS = 0.5  # between two looks at a trial

# What a trial runs, one after the other.
PROGRAMS = (("geodesic.experiments.train",), ("geodesic.experiments.evaluate", "--nobaselines"))
STATES = ("waiting", "running", "interrupted", "pruned", "failed", "done")


class Limits(NamedTuple):
    """What one trial may use of this machine."""

    cores: tuple[int, ...] = ()   # it runs on these; () = all
    gpu: str = ""                 # CUDA_VISIBLE_DEVICES; "" = as it is
    shared: bool = False          # whether other trials run on that GPU at the same time
    memory_gib: float = 0.0       # killed above this; 0 = no limit


class Stop:
    """Stops all trials of this process at their next checkpoint, once it is asked to."""

    def __init__(self):
        self._event = threading.Event()

    def ask(self, *_) -> None:
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """Whether it is asked within so many seconds."""
        return self._event.wait(seconds)

    @property
    def asked(self) -> bool:
        return self._event.is_set()


def run_path(trial: Trial) -> str:
    return os.path.join(trial.folder, "run")


def read(trial: Trial) -> dict:
    """Reads what is known of a trial: {"state": one of STATES, ...}.

    A trial that is marked as running while no process runs it is "interrupted".
    """
    record = _stored(trial)
    if record["state"] == "running" and not _is_locked(trial):
        return record | {"state": "interrupted"}
    return record


def run(trial: Trial, limits: Limits, stop: Stop, prune: Callable[[str], bool] = lambda run: False,
        wait: bool = False) -> dict:
    """Runs what is missing of a trial; its record. Does nothing where it is done.

    prune: asked now and then with the trial's workdir; True ends the trial as "pruned".
    wait: where another process runs the trial, waits for that, and does what is then missing; without it, returns a
    record of the state "running". The other may be a program that a killed sweep has left.
    """
    if not storage.is_remote(trial.folder):
        os.makedirs(trial.folder, exist_ok=True)
    with _lock(trial, give_up=lambda: not wait or stop.wait(_LOOK_SECONDS)) as lock:
        record = _stored(trial)
        if lock is None:
            return record | {"state": "running"}
        if record["state"] in ("done", "pruned"):
            return record
        record = {"state": "running", "label": trial.label, "seed": trial.seed, "point": trial.point,
                  "seconds": record["seconds"] + _unaccounted(record, trial), "started": time.time()}
        _write(trial, record)
        if trial.problem:
            outcome = {"state": "failed", "reason": "bad value", "last_lines": [trial.problem]}
        else:
            outcome = _run_programs(trial, limits, stop, prune, lock)
        record |= outcome | {"seconds": record["seconds"] + time.time() - record.pop("started")}
        _write(trial, record)
        return record


def _run_programs(trial: Trial, limits: Limits, stop: Stop, prune, lock: tuple[int, ...]) -> dict:
    config = os.path.join(trial.folder, "config.json")
    workdir.write_json(config, as_dict(trial.config))
    peak = 0.0
    for program, *options in PROGRAMS:
        command = [sys.executable, "-m", program, *options, f"--workdir={run_path(trial)}", f"--config=stored:{config}"]
        status, reason, memory = _run_program(command, trial, limits, stop, prune, lock)
        peak = max(peak, memory)
        if stop.asked:
            return {"state": "interrupted"}
        if reason == "pruned":
            return {"state": "pruned"}
        if status:
            return {"state": "failed", "reason": reason or f"{program} ended with status {status}",
                    "last_lines": logs.last_lines(trial.folder), "peak_gib": peak}
    evaluation = workdir.read_json(workdir.evaluation_path(run_path(trial)))
    return {"state": "done", "peak_gib": peak, "environment": evaluation["environment"],
            "scores": scores_of(evaluation)}


def scores_of(evaluation: dict) -> dict[str, float]:
    """The scores of a record of `evaluate` by name: of a classifier, and of retrieval where it was scored."""
    classifier = evaluation.get("classification", {}).get("metrics", {})
    scores = {name: metric["value"] for name, metric in classifier.items()} | (
        evaluation["scores"].get(evaluation["trained"], {}))
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def _run_program(command: list[str], trial: Trial, limits: Limits, stop: Stop, prune, lock: tuple[int, ...]):
    """Runs one program: (exit status, reason, peak GiB).

    The program holds the trial's lock: should this process die, nobody else starts the trial while it lives.
    """
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": limits.gpu} if limits.gpu else {})
    if limits.shared:  # a process takes three quarters of the memory else, and the next one finds none
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    with logs.opened(trial.folder) as log:
        process = subprocess.Popen(command, stdout=log.file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env=environment, pass_fds=lock, start_new_session=True)
        if limits.cores:
            with contextlib.suppress(psutil.Error):  # it may be over already
                psutil.Process(process.pid).cpu_affinity(list(limits.cores))
        return _watch(process, trial, limits, stop, prune, log)


def _watch(process: subprocess.Popen, trial: Trial, limits: Limits, stop: Stop, prune, log: logs.Log):
    """Waits for a program and ends it where it must: (exit status, reason, peak GiB)."""
    reason, asked, peak = "", False, 0.0
    while process.poll() is None:
        peak = max(peak, _memory_gib(process.pid))
        if limits.memory_gib and peak > limits.memory_gib and not reason:
            reason = f"out of memory: more than {limits.memory_gib:g} GiB"
            _signal(process, signal.SIGKILL)
        if not asked and (stop.asked or prune(run_path(trial))):
            asked, reason = True, reason or ("" if stop.asked else "pruned")
            _signal(process, signal.SIGTERM)
        log.send()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
    if process.returncode == -signal.SIGKILL:
        reason = reason or "killed (SIGKILL): out of memory, or by somebody"
    return process.returncode, reason, peak


def _signal(process: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.killpg(process.pid, number)


def _memory_gib(pid: int) -> float:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return sum(part.memory_info().rss for part in (process, *process.children(recursive=True))) / 2 ** 30
    return 0.0


def last_line(trial: Trial) -> str:
    """What the trial last printed, or ""."""
    return "".join(logs.last_lines(trial.folder)[-1:])


def _unaccounted(record: dict, trial: Trial) -> float:
    """Seconds that an attempt took which could not write down its end: until it last printed."""
    return max(logs.changed(trial.folder) - record["started"], 0.0) if "started" in record else 0.0


@contextlib.contextmanager
def _lock(trial: Trial, give_up: Callable[[], bool] = lambda: True):
    """What holds the trial's lock, file descriptors for its programs to hold too; None where another holds it and
    `give_up()` says so. The system frees a lock with its holders.

    In a bucket it is a lease, of which programs hold none. One that a killed sweep has left holds that of its run.
    """
    if storage.is_remote(trial.folder):
        with lease.held(trial.folder, give_up) as free:
            if free:
                with lease.held(run_path(trial), give_up) as free:
                    pass
            yield () if free else None
        return
    descriptor = os.open(os.path.join(trial.folder, "lock"), os.O_CREAT | os.O_RDWR)
    try:
        while not (held := _flock(descriptor)) and not give_up():
            pass
        yield (descriptor,) if held else None
    finally:
        os.close(descriptor)


def _flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(trial: Trial) -> bool:
    if storage.is_remote(trial.folder):
        return lease.is_held(trial.folder)
    with _lock(trial) as lock:
        return lock is None


def _stored(trial: Trial) -> dict:
    try:
        return workdir.read_json(os.path.join(trial.folder, "trial.json"))
    except FileNotFoundError:
        return {"state": "waiting", "seconds": 0.0}


def _write(trial: Trial, record: dict) -> None:
    workdir.write_json(os.path.join(trial.folder, "trial.json"), record)
