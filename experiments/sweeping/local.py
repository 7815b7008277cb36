"""Trials on this machine: as many at once as its cores, accelerators and memory allow."""

import concurrent.futures
import os
import pathlib
import threading
import time
from collections.abc import Callable

import psutil

from geodesic.experiments.sweeping import running
from geodesic.experiments.sweeping.trials import Trial

# A trial starts when so many times what the largest one took so far is free, or when no other runs. Memory is looked
# at every so many seconds.
_MEMORY_MARGIN, _WAIT = 1.2, 1.0


def default_workers() -> int:
    """One trial for each GPU, or for each four cores."""
    return len(gpus()) or max(len(os.sched_getaffinity(0)) // 4, 1)


def gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may be set to, one GPU each; [] without NVIDIA GPUs."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    folder = pathlib.Path("/proc/driver/nvidia/gpus")
    return [str(index) for index in range(len(list(folder.iterdir())))] if folder.exists() else []


def run(trials: list[Trial], workers: int, trial_memory_gib: float, stop: running.Stop,
        ended: Callable[[Trial, dict], None]) -> None:
    """Runs the trials, `workers` at a time, each on its share of the cores or on its GPU. Those that another process
    runs already come last: they are waited for, and taken up where that leaves them undone.

    ended: called with each trial and its record.
    """
    places = _places(workers)
    memory = _Memory()
    free, lock = list(places), threading.Lock()

    def one(trial: Trial, wait: bool) -> bool:
        """False where another process runs it."""
        memory.enter(stop)
        if stop.asked:
            return True
        with lock:
            place = free.pop(0)
        record = {}
        try:
            record = running.run(trial, place._replace(memory_gib=trial_memory_gib), stop, wait=wait)
        except OSError:  # a disk that is full, a bucket that is away: no trial can be written down
            stop.ask()
            raise
        finally:
            memory.leave(record)
            with lock:
                free.append(place)
        if record["state"] != "running":
            ended(trial, record)
        return record["state"] != "running"

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        left = [trial for trial, over in zip(trials, pool.map(lambda trial: one(trial, False), trials), strict=True)
                if not over]
        if left and not stop.asked:
            print(f"waiting for {len(left)} trials that another process runs", flush=True)
        list(pool.map(lambda trial: one(trial, True), left))


def _places(workers: int) -> list[running.Limits]:
    """Where each worker's trials run. GPUs, or cores, are dealt out; too few are shared by all."""
    devices = gpus()
    if devices:
        return [running.Limits(gpu=devices[index % len(devices)], shared=workers > len(devices))
                for index in range(workers)]
    cores = sorted(os.sched_getaffinity(0))
    if workers == 1 or workers > len(cores):
        return [running.Limits()] * workers
    return [running.Limits(cores=tuple(cores[index::workers])) for index in range(workers)]


class _Memory:
    """Holds a trial back while the machine has less memory free than the largest so far took."""

    def __init__(self):
        self._largest_gib, self._running, self._lock = 0.0, 0, threading.Lock()

    def enter(self, stop: running.Stop) -> None:
        while not stop.asked:
            with self._lock:
                available = psutil.virtual_memory().available / 2 ** 30
                if not self._running or available > self._largest_gib * _MEMORY_MARGIN:
                    self._running += 1
                    return
            time.sleep(_WAIT)

    def leave(self, record: dict) -> None:
        with self._lock:
            self._running -= 1
            self._largest_gib = max(self._largest_gib, record["peak_gib"] if "peak_gib" in record else 0.0)
