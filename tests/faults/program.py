"""Another program of experiments, with the tiny network.

    python -m tests.faults.program evaluate --workdir=RUN ...
"""

import importlib
import sys

from geodesic.experiments.process import cli
from tests.experiments import tiny  # noqa: F401, registers the network

REQUIRED = {"evaluate": ("workdir",), "embed": ("workdir", "images"),
            "search": ("workdir", "embeddings", "query"), "detect": ("workdir",)}


if __name__ == "__main__":
    name = sys.argv.pop(1)
    program = importlib.import_module(f"geodesic.experiments.{name}")
    cli.run(program.main, program.define_flags, REQUIRED[name])
