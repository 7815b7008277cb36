"""Where a row has its files, and how it runs the programs on them."""

import functools
import io
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import NamedTuple

import jax
import numpy as np

from geodesic import datasets, embedders
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import imported
from tests.datasets import images
from tests.experiments import tiny

ROOT = pathlib.Path(__file__).parents[2]


class Row(NamedTuple):
    """A kind of input, and what must come of it."""

    given: str                          # the input
    check: Callable[["Place"], str]     # makes it, asserts the right value, and says what came of it
    why: str = ""                       # of a rule that could have been another one


class Place:
    """A folder of one row's own. shared: what several rows need, made once."""

    def __init__(self, folder: pathlib.Path, shared: "Shared"):
        self.folder, self.shared = folder, shared
        folder.mkdir(parents=True, exist_ok=True)

    def picture(self, name: str, seed: int = 1, size: int = 24) -> pathlib.Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.encoded(images.pixels(seed, size, size), "PNG"))
        return path

    def tell(self, line: str) -> str:
        """A line without this row's folder."""
        return line.replace(f"{self.folder}/", "").replace(str(self.folder), "FOLDER").strip()

    def refusal(self, call: Callable, *arguments, **options) -> str:
        """The one line of what must be refused, as the user's error that it is."""
        try:
            with redirect_stdout(io.StringIO()):
                call(*arguments, **options)
        except (UserError, FileNotFoundError) as error:
            return f"refused: {self.tell(str(error))}"
        raise AssertionError("it was not refused")

    def source(self, name: str, path) -> datasets.Source:
        with redirect_stdout(io.StringIO()):
            return datasets.build(name, path=os.fspath(path))

    def command(self, program: str, *options, status: int = 0) -> str:
        """The output of a program in its own process, which must end with `status` and no traceback."""
        module = {"train": ["tests.faults.train"], "embed": ["tests.faults.program", "embed"],
                  "search": ["tests.faults.program", "search"], "evaluate": ["tests.faults.program", "evaluate"]}
        words = [sys.executable, "-m", *module.get(program, ["geodesic", program]), *options]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        output = done.stdout.decode("utf-8", "surrogateescape")
        assert "Traceback" not in output and done.returncode == status, (done.returncode, output[-1500:])
        errors = [line for line in output.splitlines() if line.startswith("error: ")]
        assert len(errors) == bool(status), errors
        return output

    def error(self, program: str, *options) -> str:
        """The one line of a program that must refuse."""
        output = self.command(program, *options, status=1)
        return self.tell(next(line for line in output.splitlines() if line.startswith("error: ")))


class Shared:
    """Weights and photographs."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    @functools.cached_property
    def faces(self) -> pathlib.Path:
        """Five classes of four."""
        return images.make_folder(self.folder / "faces", 5, 4)

    @functools.cached_property
    def weights(self) -> pathlib.Path:
        """A workdir of a network that was drawn at random."""
        return self._weights("weights", lambda kernel: kernel)

    @functools.cached_property
    def broken_weights(self) -> pathlib.Path:
        return self._weights("broken_weights", lambda kernel: np.full_like(kernel, np.nan))

    def _weights(self, name: str, change: Callable) -> pathlib.Path:
        network = embedders.build("tiny", embedding_size=16)
        variables = jax.device_get(network.init(jax.random.key(0), np.zeros((1, 16, 16, 3))))
        variables["params"]["conv1"]["kernel"] = change(variables["params"]["conv1"]["kernel"])
        imported.save(str(self.folder / name), tiny.config(), variables, {})
        return self.folder / name


def listed(words: Sequence[str]) -> str:
    shown = lambda word: os.fsencode(word).decode("utf-8", "backslashreplace").replace("\n", "\\n")
    return ", ".join(shown(word) or "''" for word in words)
