"""Where a run's time goes, from its first process to its last: how much of it makes steps that stay."""

import contextlib
import os
import time

from geodesic.experiments.process import appending, progress
from geodesic.experiments.process import workdir as workdirs

# The kinds of time, as they are told; each phase of the watchdog belongs to one. Any other phase is an evaluation.
KINDS = ("steps", "start", "input", "saving", "evaluation", "restarts")
_KIND = {"start": "start", "compilation": "start", "loader": "input", "step": "steps", "save": "saving"}
_MARKS = 16  # more checkpoints than these are not gone back to
# When this program started, by time.time: imports are part of the start. It counts once.
program_started: float | None = None


class Goodput:
    """While entered, adds up the seconds of a run by kind, in goodput.json of its workdir.

    Restarts are the time from one process of the run to the next, and the steps that had to be made again. What is
    between phases belongs to the steps, once there are any. A run that was finished was not lost until it is extended.
    A start that was refused before any step leaves nothing.

    workdir: of the run. writes: whether this process does.
    """

    def __init__(self, workdir: str, writes: bool = True):
        global program_started
        self._path, self._writes = _path(workdir), writes
        self._at = self._written = time.monotonic()
        self._kind, self._between, self.finished = "start", "start", False
        before = read(workdir) if writes else {}
        self._begun = bool(before)
        self._seconds = dict.fromkeys(KINDS, 0.0) | before.get("seconds", {})
        self._starts = before.get("starts", 0) + 1
        self._marks = {int(step): seconds for step, seconds in before.get("marks", {}).items()}
        began = time.time() if program_started is None else program_started
        self._seconds["start"] += max(time.time() - began, 0.0)
        if before and before["ended"] != "finished":
            self._seconds["restarts"] += max(began - before["time"], 0.0)
        program_started = None

    def __enter__(self):
        self._write("")
        return self

    def __exit__(self, kind, *_):
        self.phase("")
        self._write("failed" if kind else "finished" if self.finished else "stopped")
        if self._seconds["steps"]:
            print(describe(self._seconds, self._starts), flush=True)

    def phase(self, name: str) -> None:
        """Tells that from now on the run is in this phase of the watchdog; "" between them."""
        now = time.monotonic()
        self._seconds[self._kind] += now - self._at
        if name == "loader":  # the first of a step
            self._between, self._begun = "steps", True
        self._at, self._kind = now, _KIND.get(name, "evaluation") if name else self._between
        if now - self._written > 10:
            self._write("")

    def saved(self, step: int) -> None:
        """Tells that a checkpoint of this step is on its way."""
        self._marks[step] = self._seconds["steps"]
        self._marks = dict(sorted(self._marks.items())[-_MARKS:])

    def resumed(self, step: int) -> None:
        """Tells that the run goes on from this step: what was made after it is lost."""
        kept = self._marks.get(step, self._seconds["steps"]) if step else 0.0
        self._seconds["restarts"] += self._seconds["steps"] - kept
        self._seconds["steps"] = kept
        self._marks = {at: seconds for at, seconds in self._marks.items() if at <= step}

    def _write(self, ended: str) -> None:
        self._written = time.monotonic()
        if self._writes and self._begun:
            with contextlib.suppress(OSError):  # a full disk, which others report
                workdirs.write_json(self._path, soon=True, values={
                    "seconds": {name: round(seconds, 3) for name, seconds in self._seconds.items()},
                    "starts": self._starts, "time": time.time(), "ended": ended, "marks": self._marks})
                if ended:
                    appending.flush()


def _path(workdir: str) -> str:
    return os.path.join(workdir, "goodput.json")


def read(workdir: str) -> dict:
    """What a run has left: "seconds" by kind, "starts", "time" of the last word, "ended" (finished, stopped, failed,
    or "" for one that runs or was killed). {} where there is nothing."""
    try:
        return workdirs.read_json(_path(workdir))
    except (FileNotFoundError, ValueError):
        return {}


def share(seconds: dict[str, float]) -> float:
    """The goodput: how much of all the time made steps that stayed."""
    return seconds["steps"] / max(sum(seconds.values()), 1e-9)


def describe(seconds: dict[str, float], starts: int) -> str:
    """One line: the goodput, and what the rest of the time went into."""
    lost = ", ".join(f"{name} {progress.duration(seconds[name])}" for name in KINDS[1:])
    return (f"goodput {share(seconds):.0%} of {progress.duration(sum(seconds.values()))}: steps "
            f"{progress.duration(seconds['steps'])}; {lost} ({starts} start{'s' if starts > 1 else ''})")
