"""Programs as a user runs them, each in a process of its own, forked from one that has imported what all of them need:
two seconds less for each.
"""

import multiprocessing
import os
import pathlib
import runpy
import sys
import tempfile
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["geodesic.experiments.train", "geodesic.experiments.evaluate",
                                   "geodesic.experiments.report", "tests.forked"])


class Done(NamedTuple):
    returncode: int | None
    stdout: str
    stderr: str


def program(name: str, *options, cwd=ROOT) -> Done:
    """What `python -m geodesic.experiments.NAME` has printed, and its exit status; None after five minutes."""
    with tempfile.TemporaryDirectory() as folder:
        files = [os.path.join(folder, stream) for stream in ("stdout", "stderr")]
        process = _PROCESSES.Process(target=_become, args=(name, [*map(str, options)], files, str(cwd)))
        process.start()
        process.join(timeout=300)
        code = process.exitcode
        if code is None:
            process.kill()
        return Done(code, *(pathlib.Path(file).read_text() for file in files))


def _become(name: str, options: list[str], files: list[str], folder: str) -> None:
    for number, file in zip((1, 2), files, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder)
    sys.argv = [name, *options]
    runpy.run_module(f"geodesic.experiments.{name}", run_name="__main__", alter_sys=True)
