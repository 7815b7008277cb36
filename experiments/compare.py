"""Puts result records beside the paper's figures: did this run reproduce it?

    geodesic compare runs/cub_0 [runs/... records/cub200.json ...] [--paper=reality_check:cub_arcface]

Exit status: 0 every figure is reproduced; 1 one fell outside of its tolerance (--allow_better: below it); 3 none fell
outside, but one cannot be compared; 2 an error. A figure is compared only where protocol, split, selection, views,
number of models and recipe are the paper's.
"""

import json

import rich.table
from absl import flags

from geodesic.errors import UserError
from geodesic.experiments.process import cli, console
from geodesic.experiments.protocols import comparison, record


def define_flags() -> None:
    flags.DEFINE_string("paper", "", "FILE:ROW of configs/papers to compare with; default: the row the run was of.")
    flags.DEFINE_bool("json", False, "Print the comparison as JSON instead of a table.")
    flags.DEFINE_bool("allow_better", False, "A figure above its tolerance does not make the exit status 1.")


def main(_, values, names: list[str]) -> int:
    if not names:
        raise UserError("nothing to compare: give a --workdir's folder or a record's file, one or more")
    rows = []
    for name in names:
        for file in record.find(name):
            rows += comparison.compare(record.read(file), file, values.paper)
    if values.json:
        print(json.dumps(rows, indent=2))
    else:
        print_table(rows)
    return comparison.status(rows, values.allow_better)


def print_table(rows: list[dict]) -> None:
    """Percentages, as the papers have them; below, why a row is not comparable."""
    table = rich.table.Table(title="against the published figures, in %")
    for name, justify in (("paper", "left"), ("metric", "left"), ("published", "right"), ("ours", "right"),
                          ("difference", "right"), ("verdict", "left")):
        table.add_column(name, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(row["paper"] or "none", row["metric"] or row["protocol"], *comparison.cells(row),
                      comparison.verdict(row))
    console.plain().print(table)
    for row in rows:
        if row["why"]:
            what = " ".join(part for part in (row["paper"], row["protocol"], row["metric"]) if part)
            print(f"{what}: {row['verdict']}: {row['why']}")


if __name__ == "__main__":
    cli.run(main, define_flags, required=(), takes="RUN_OR_RECORD...", error_status=2, alone=True,
            buckets=("",))
