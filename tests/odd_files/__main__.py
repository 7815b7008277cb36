"""Gives odd files of every kind to the programs, prints a line for each kind, and writes the table.

    python -m tests.odd_files [--only=leading_zeros,long_ids] [--inputs=FOLDER] [--out=benchmarks/results/odd_files.md]

Exit status 1 where one is neither right nor refused.
"""

import argparse
import os
import pathlib
import sys
import tempfile

from geodesic.experiments.process import runtime

runtime.start(cpu_devices=1)

from tests.odd_files import table  # noqa: E402
from tests.odd_files.place import Shared  # noqa: E402


def main() -> int:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    parser = argparse.ArgumentParser(prog="python -m tests.odd_files")
    parser.add_argument("--only", default="", help="names of rows, with commas between them")
    parser.add_argument("--inputs", default="", help="new or empty folder in which the inputs are made, and stay")
    parser.add_argument("--out", default="", help="where to write the table, a .md file; of all rows")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else [*table.ROWS]
    if unknown := {*names} - {*table.ROWS}:
        parser.error(f"no rows {', '.join(sorted(unknown))}; there are {', '.join(table.ROWS)}")
    if options.only and options.out:
        parser.error("--out is of all rows: leave out --only")
    if options.inputs and os.path.isdir(options.inputs) and os.listdir(options.inputs):
        parser.error(f"{options.inputs} is not empty")
    with tempfile.TemporaryDirectory() as spare:
        folder = pathlib.Path(options.inputs or spare).resolve()
        shared = Shared(folder / "shared")
        results = [table.do(name, folder, shared) for name in names]
    passed = sum(result["result"] == "PASS" for result in results)
    print(f"{passed} of {len(results)} pass, {sum(result['seconds'] for result in results):.0f} s")
    if options.out:
        table.write(pathlib.Path(options.out), results)
    return 0 if passed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
