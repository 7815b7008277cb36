"""Writes docs/papers.md: every published row, the command that runs it, and what a record here says about it.

    python -m benchmarks.paper_table

Results come from the records below --records alone; a row without one is "not run here".
"""

import os

from absl import flags

from geodesic.configs import papers
from geodesic.experiments.process import cli, workdir
from geodesic.experiments.protocols import comparison, record

_INTRODUCTION = """# Published figures and the configurations that should give them

Written by `python -m benchmarks.paper_table` from `configs/papers/` and from the records in
`benchmarks/results/records/`; a test holds this page to them. No result is typed.

A row runs with `geodesic train --config=papers/FILE:ROW --workdir=runs/ROW` and the paths of its data (each file's
docstring has the whole command), is measured with
`geodesic evaluate --workdir=runs/ROW --protocol=PROTOCOL --data=FOLDER`, and is held against the paper with
`geodesic compare runs/ROW`. Figures and tolerances are in per cent; the tolerance is what a single
run may be off. A record is compared only where protocol, split, crop, mirrored views, selection, number of models and
recipe are the paper's; otherwise the verdict is "not comparable", with the reason.

`geodesic evaluate` measures the last checkpoint unless told otherwise: `--select=validation` takes the one that is
best on `config.test_data`, refused where that shares an image with the protocol's, and `--select_on_test` the one that
is best on the test set, which marks the record for good. `--concatenate=WORKDIR,...` puts the embeddings of other runs
beside this one's, and `--quarter_turns` those of an image in its four quarter turns, for networks that have learnt
turned images as classes of their own; the record says so, and is not compared with figures of one model and one view.
"""


def define_flags() -> None:
    flags.DEFINE_string("out", os.path.join(cli.ROOT, "docs", "papers.md"), "The page to write.")
    flags.DEFINE_string("records", os.path.join(cli.ROOT, "benchmarks", "results", "records"),
                        "Folder of the records of rows that were run, with its sub-folders.")


def main(_, values) -> None:
    workdir.write_atomically(values.out, page(values.records).encode())
    print(f"written to {values.out}")


def page(records: str) -> str:
    """The whole page."""
    measured = {}
    for folder, _, names in sorted(os.walk(records)):
        for name in sorted(name for name in names if name.endswith(".json")):
            for row in comparison.compare(record.read(os.path.join(folder, name)), name):
                measured.setdefault((row["paper"], row["protocol"], row["metric"]), []).append(row)
    parts = [_INTRODUCTION]
    for file in papers.FILES:
        module = papers.load(file)
        parts += [f"## {module.__doc__.splitlines()[0].rstrip('.')}\n",
                  "| `--config=papers/...` | protocol | metric | published | here |", "|---|---|---|---|---|"]
        parts += [line for row in module.ROWS for line in _lines(file, row, module.expected(row), measured)]
        parts.append("")
    return "\n".join(parts)


def _lines(file: str, row: str, figures: list[dict], measured: dict) -> list[str]:
    name = f"`{file}:{row}`"
    if not figures:
        return [f"| {name} | | | not published | not run here |"]
    lines = []
    for figure in figures:
        found = measured.get((f"{file}:{row}", figure["protocol"], figure["metric"]), [])
        here = "; ".join(f"{comparison.cells(entry)[1]}, {comparison.verdict(entry)}" for entry in found)
        note = f" ({figure['note']})" if figure["note"] else ""
        lines.append(f"| {name} | {figure['protocol']} | {figure['metric']} | {100 * figure['value']:.2f} ± "
                     f"{100 * figure['tolerance']:.2f}{note} | {here or 'not run here'} |")
    return lines


if __name__ == "__main__":
    cli.run(main, define_flags, required=())
