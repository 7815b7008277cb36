"""Does every fault to runs, prints a line for each, and writes the table.

    python -m tests.faults [--only=sigkill:3,flipped_bits] [--out=benchmarks/results/faults]
"""

import argparse
import pathlib
import sys
import tempfile

from geodesic.experiments.process import runtime

runtime.start(cpu_devices=8)

from tests.faults import table  # noqa: E402
from tests.faults.runs import Runs  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--only", default="", help="names of functions, with commas between them; name:tries for "
                        "another number of tries than its own")
    parser.add_argument("--out", default="", help="where to write the table, without its suffix")
    options = parser.parse_args()
    usual = {action.__name__: tries for action, tries, _ in table.FAULTS.values()}
    named = [item.partition(":")[0] for item in options.only.split(",")] if options.only else []
    if unknown := [name for name in named if name not in usual]:
        parser.error(f"no fault {unknown[0]!r}; known: {', '.join(usual)}")
    wanted = dict(_name_and_tries(item, usual) for item in options.only.split(",")) if options.only else usual
    results, stamp = [], table.stamp()
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(pathlib.Path(folder))
        for name, (action, *_) in table.FAULTS.items():
            if action.__name__ in wanted:
                results.append(table.do(name, runs, wanted[action.__name__]) | stamp)
                if options.out:
                    table.write(pathlib.Path(options.out), [results[-1]])
    return 0 if all(result["survived"] == result["tries"] for result in results) else 1


def _name_and_tries(item: str, usual: dict[str, int]) -> tuple[str, int]:
    name, _, tries = item.partition(":")
    return name, int(tries) if tries else usual[name]


if __name__ == "__main__":
    sys.exit(main())
