"""Timing in turns: whatever else the machine does falls on all that is compared."""

import statistics
import time
from collections.abc import Callable


def measure(runs: dict[str, Callable], rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Name -> seconds of each round, and name -> seconds of processor, of all threads: where other work holds a run up,
    these say more. The first round, uncounted, warms up. What takes half a minute is counted once.
    """
    wall, processor = ({name: [] for name in runs} for _ in range(2))
    for index in range(rounds + 1):
        for name, run in runs.items():
            if wall[name] and wall[name][0] > 30:
                continue
            started, worked = time.perf_counter(), time.process_time()
            run()
            if index:
                wall[name].append(round(time.perf_counter() - started, 4))
                processor[name].append(round(time.process_time() - worked, 4))
    return wall, processor


def show(seconds: list[float]) -> str:
    """Median (least to most)."""
    return f"{statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
