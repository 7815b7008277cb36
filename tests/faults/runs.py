"""Runs of tests.faults.train to do harm to, and what is left of them."""

import collections
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

from geodesic.experiments.checkpoints import seal
from geodesic.experiments.process import progress
from tests.datasets import images

ROOT = pathlib.Path(__file__).parents[2]
# Seconds after which a run that should have ended counts as one that hangs.
LIMIT = 300


class Runs:
    """A folder with images and, below it, runs that learn from them."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.images = images.make_folder(folder / "images", 5, 8)
        self._whole = {}

    def command(self, run: str, *options) -> list[str]:
        return [sys.executable, "-m", "tests.faults.train", f"--config=tests/faults/tiny_config.py:{self.images}",
                f"--workdir={self.folder / run}", *options]

    def start(self, run: str, *options, processes: int = 1, devices: int = 0) -> list["Process"]:
        """devices: fake ones of each process."""
        many = []
        if processes > 1:
            many = [f"--coordinator_address={free_address()}", f"--num_processes={processes}"]
        own = [f"--cpu_devices={devices}"] if devices else []
        return [Process(self.command(run, *options, *many, *own, *([f"--process_id={index}"] if many else [])),
                        self.folder / f"{run}.{index}.log") for index in range(processes)]

    def finish(self, run: str, *options, **layout) -> list["Process"]:
        """Runs to the end, whatever that is."""
        processes = self.start(run, *options, **layout)
        for process in processes:
            process.wait()
        return processes

    def whole(self, **layout) -> dict:
        """What an undisturbed run on so many processes and devices leaves."""
        key = tuple(layout.items())
        if key not in self._whole:
            name = "whole" + "".join(f"-{value}" for value in layout.values())
            for run in (f"warm-{name}", name):  # the first fills the compilation cache: the second's time is all runs'
                started = time.monotonic()
                ended = self.finish(run, "--step_seconds=0.1", **layout)
                assert [process.status for process in ended] == [0] * len(ended), ended[0].output()
            self._whole[key] = self.left_by(name) | {"seconds": time.monotonic() - started}
        return self._whole[key]

    def left_by(self, run: str) -> dict:
        """The digests of all arrays of the last checkpoint, its place in the data, and what was recorded."""
        folder = max((path for path in (self.folder / run / "checkpoints").iterdir() if path.name.isdigit()),
                     key=lambda path: int(path.name))
        record = seal.read(str(folder))
        seal.check(str(folder), record)
        logged = [(r["step"], r.get("loss"), r.get("map@r")) for r in progress.read_metrics(str(self.folder / run))]
        return {"step": record["step"], "digests": record["digests"], "data": record["data"], "logged": logged}

    def same(self, run: str, **layout) -> bool:
        expected = self.whole(**layout)
        return self.left_by(run) == {key: value for key, value in expected.items() if key != "seconds"}


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return f"localhost:{probe.getsockname()[1]}"


class Process:
    """A running program, its output in a file."""

    def __init__(self, command: list[str], log: pathlib.Path):
        self._log, self._file = log, open(log, "w")
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=self._file, stderr=subprocess.STDOUT,
                                         env={**os.environ, "NPROC": "32"})

    @property
    def status(self) -> int | None:
        return self._process.poll()

    def output(self) -> str:
        return self._log.read_text()

    def errors(self) -> list[str]:
        """Its own lines about what went wrong."""
        return re.findall(r"^error: .*$", self.output(), re.MULTILINE)

    def wait_for(self, text: str, limit: float = LIMIT) -> bool:
        """False where it ended before it said so."""
        started = time.monotonic()
        while text not in self.output():
            if self.status is not None or time.monotonic() - started > limit:
                return text in self.output()
            time.sleep(0.02)
        return True

    def wait_step(self, step: int) -> bool:
        return self.wait_for(f"step {step:>2}/")

    def wait(self, limit: float = LIMIT) -> int:
        """Its exit status. One that hangs is killed, and counts as -9."""
        try:
            return self._process.wait(limit)
        except subprocess.TimeoutExpired:
            return self.kill()
        finally:
            self._file.flush()

    def workers(self) -> list[int]:
        """Processes of its loader: children of the server that it has started."""
        children = _children()
        return [worker for child in children.get(self._process.pid, ()) for worker in children.get(child, ())]

    def kill(self) -> int:
        self.send(signal.SIGKILL)
        return self._process.wait()

    def send(self, number: signal.Signals) -> None:
        if self.status is None:
            os.kill(self._process.pid, number)


def _children() -> dict[int, list[int]]:
    """Of every process of this machine."""
    children = collections.defaultdict(list)
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            children[int(path.read_text().rpartition(")")[2].split()[1])].append(int(path.parent.name))
    return children
