"""What benchmarks share. Timing in turns: whatever else the machine does falls on all that is compared."""

import argparse
import importlib.util
import json
import multiprocessing
import os
import pathlib
import statistics
import sys
import time
import traceback
from collections.abc import Callable

_TOLD = "GEODESIC_RESULTS_OF_CHANGED_CODE"
RESULTS = pathlib.Path(__file__).resolve().parent / "results"
# Rounds that are not counted: memory is taken in the first and settles in the second.
WARM = 2
_LONG = 30  # seconds


def need(peer: str) -> None:
    """Ends the program with one line if a peer's module is not installed."""
    if importlib.util.find_spec(peer) is None:
        sys.exit(f"error: {peer} is not installed; the peers are in requirements-peers.txt")


class Elsewhere:
    """A contender in a process of its own, so that nobody's heap or threads are in another's way.

    build(*arguments), a function of a module, is called there and gives (what runs once and waits for its end, facts).
    Raises RuntimeError with the other side's traceback.
    """

    def __init__(self, build: Callable, *arguments):
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, build, arguments), daemon=True)
        self._process.start()
        other.close()
        self.facts = self._answer()

    def timed(self) -> tuple[float, float]:
        self._pipe.send("run")
        return self._answer()

    def close(self) -> None:
        self._pipe.close()
        self._process.join()

    def _answer(self):
        try:
            problem, answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            problem = f"a contender's process ended with status {self._process.exitcode}"
        if problem:
            raise RuntimeError(problem)
        return answer


def options(document: str, **usual) -> argparse.Namespace:
    """The options of the command line, --NAME=VALUE, each of the type of its usual value; others are refused.

    A result that is to be committed names one commit, without changes: where this code has some, a program whose `out`
    lies in benchmarks/results ends here with one line, unless it is told --changed. The result then says so.
    """
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in usual.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--changed", action="store_true", help="write a result of code that differs from its commit")
    asked = parser.parse_args()
    from geodesic.experiments.process import workdir  # peers that take turns have no geodesic

    commit = workdir.commit()
    committed = pathlib.Path(getattr(asked, "out", "") or RESULTS).resolve().is_relative_to(RESULTS)
    os.environ |= {_TOLD: "1"} if asked.changed else {}  # some start themselves again, for each contestant
    if "out" in usual and committed and commit.endswith("+changes") and _TOLD not in os.environ:
        sys.exit(f"error: the code differs from its commit ({commit}), and a result in benchmarks/results is of one: "
                 f"commit first, give --out=ELSEWHERE, or --changed")
    return asked


def asked(processes: dict, rounds: int, count: Callable[[int, str], int], what: str = "") -> dict[str, dict[str, list]]:
    """Contestants in processes of their own, each asked in turn: name -> key -> its answers.

    processes: name -> a process that reads a number of images from stdin and answers with a line of JSON, "per_core"
    among its keys. Lines before it, of what a source remarks, are passed over. count: (round, name) -> that number;
    round 0 warms up, and is not counted. what: what is compared, before each line that is printed.
    """
    results = {name: {} for name in processes}
    for turn in range(rounds + 1):
        for name, process in processes.items():
            process.stdin.write(f"{count(turn, name)}\n")
            process.stdin.flush()
            line = next((line for line in process.stdout if line.startswith("{")), None)
            if line is None:
                sys.exit(f"error: {name} ended with status {process.wait()}")
            if turn:
                answer = json.loads(line)
                for key, value in answer.items():
                    results[name].setdefault(key, []).append(value)
                print(f"{what}round {turn}, {name}: {answer['per_core']:.0f} per core", flush=True)
    for process in processes.values():
        process.stdin.close()
        process.wait(60)
    return results


def _serve(pipe, build: Callable, arguments: tuple) -> None:
    try:
        run, facts = build(*arguments)
        pipe.send((None, facts))
        while pipe.recv():
            pipe.send((None, _timed(run)))
    except EOFError:  # the other side is through
        pass
    except Exception:
        pipe.send((traceback.format_exc(), None))


def _timed(run: Callable) -> tuple[float, float]:
    """(seconds, seconds of processor)."""
    started, worked = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - started, time.process_time() - worked


def measure(runs: dict[str, Callable | Elsewhere], rounds: int) -> tuple[dict[str, list[float]],
                                                                         dict[str, list[float]]]:
    """Name -> seconds of each round, and name -> seconds of processor, of all threads: where other work holds a run up,
    these say more. WARM rounds before are not counted. What takes half a minute is counted once.
    """
    wall, processor = ({name: [] for name in runs} for _ in range(2))
    long = set()
    for index in range(-WARM, rounds):
        for name, run in runs.items():
            if name in long and (index < 0 or wall[name]):
                continue
            seconds, worked = run.timed() if isinstance(run, Elsewhere) else _timed(run)
            if seconds > _LONG and index > -WARM:  # the first may have compiled
                long.add(name)
            if index >= 0:
                wall[name].append(round(seconds, 4))
                processor[name].append(round(worked, 4))
    return wall, processor


def write(out: str | pathlib.Path, record: dict, text: str) -> None:
    """A result: the record as OUT.json, and its page as OUT.md."""
    out = pathlib.Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    out.with_suffix(".md").write_text(text)


def show(seconds: list[float]) -> str:
    """Median (least to most)."""
    return f"{statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
