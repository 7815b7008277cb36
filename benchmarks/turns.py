"""Timing in turns: whatever else the machine does falls on all that is compared."""

import statistics
import time
from collections.abc import Callable


def measure(runs: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Name -> seconds of each round; the first, uncounted, warms up. What takes half a minute is counted once."""
    times = {name: [] for name in runs}
    for index in range(rounds + 1):
        for name, run in runs.items():
            if times[name] and times[name][0] > 30:
                continue
            started = time.perf_counter()
            run()
            if index:
                times[name].append(round(time.perf_counter() - started, 4))
    return times


def show(seconds: list[float]) -> str:
    """Median (least to most)."""
    return f"{statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
