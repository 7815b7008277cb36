"""A contender in a process of its own, asked line by line: for benchmarks whose peer has another interpreter."""

import json
import sys
import time
from collections.abc import Callable


def serve(step: Callable[[], float]) -> None:
    """Answers each line of the input by what a step took: seconds, those of processor, the most bytes in memory, and
    what it gave. Linux only.
    """
    for _ in sys.stdin:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the most memory is counted anew
        started, worked = time.perf_counter(), time.process_time()
        loss = step()
        took = time.perf_counter() - started, time.process_time() - worked
        with open("/proc/self/status") as file:
            peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
        print(json.dumps({"seconds": took[0], "processor": took[1], "peak_bytes": peak, "loss": loss}), flush=True)
