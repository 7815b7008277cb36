"""Does every fault to runs, prints a line for each, and writes the table.

    python -m tests.faults [--only=sigkill,flipped_bits] [--tries=3] [--out=benchmarks/results/faults]
"""

import argparse
import pathlib
import sys
import tempfile

from experiments import runtime

runtime.start(cpu_devices=8)

from tests.faults import table  # noqa: E402
from tests.faults.runs import Runs  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--only", default="", help="names of functions, with commas between them")
    parser.add_argument("--tries", type=int, help="of each, in the place of its own number")
    parser.add_argument("--out", default="", help="where to write the table, without its suffix")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else [action.__name__ for action, *_ in table.FAULTS.values()]
    results, stamp = [], table.stamp()
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(pathlib.Path(folder))
        for name, (action, *_) in table.FAULTS.items():
            if action.__name__ in wanted:
                results.append(table.do(name, runs, options.tries) | stamp)
                if options.out:
                    table.write(pathlib.Path(options.out), [results[-1]])
    return 0 if all(result["survived"] == result["tries"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
