"""Puts result records beside the paper's figures: did this run reproduce it? And scorecards beside each other.

    geodesic compare runs/cub_0 [runs/... records/cub200.json ...] [--paper=reality_check:cub_arcface]
    geodesic compare runs/a runs/b                      # that `geodesic scorecard` has judged, or its scorecard.json

Exit status: 0 every figure is reproduced; 1 one fell outside of its tolerance (--allow_better: below it); 3 none fell
outside, but one cannot be compared; 2 an error. A figure is compared only where protocol, split, selection, views,
number of models and recipe are the paper's. Scorecards change no status; of a run that has one and stands beside
another, records of no paper are passed over.
"""

import json
import string

import rich.table
from absl import flags

from geodesic.errors import UserError
from geodesic.experiments.process import cli, console, storage
from geodesic.experiments.protocols import comparison, record, scorecard_files

_LETTERS = string.ascii_uppercase


def define_flags() -> None:
    flags.DEFINE_string("paper", "", "FILE:ROW of configs/papers to compare with; default: the row the run was of.")
    flags.DEFINE_bool("json", False, "Print the comparison as JSON instead of a table.")
    flags.DEFINE_bool("allow_better", False, "A figure above its tolerance does not make the exit status 1.")


def main(_, values, names: list[str]) -> int:
    if not names:
        raise UserError("nothing to compare: give a --workdir's folder or a record's file, one or more")
    cards = scorecard_files.found(names)
    if len(cards) == 1 and storage.is_file(*cards):
        raise UserError(f"{next(iter(cards))} is the only scorecard: give another one to put beside it")
    if len(cards) > len(_LETTERS):
        raise UserError(f"{len(cards)} scorecards do not fit side by side: give {len(_LETTERS)} at most")
    cards = cards if len(cards) > 1 else {}
    rows = []
    for name in names:
        for file in record.find(name) if name not in cards or storage.is_folder(record.folder(name)) else ():
            measured = record.read(file)
            if name not in cards or values.paper or measured["paper"]:
                rows += comparison.compare(measured, file, values.paper)
    beside = comparison.side_by_side(cards)
    if values.json:
        print(json.dumps(rows + beside, indent=2))
    else:
        if rows:
            print_table(rows)
        if cards:
            print_cards(cards, beside)
    return comparison.status(rows, values.allow_better)


def print_cards(cards: dict[str, dict], rows: list[dict]) -> None:
    """The figures of the runs, each with its interval, a column for each; and which intervals exclude each other."""
    letter = dict(zip(cards, _LETTERS, strict=False))
    table, task = rich.table.Table(title="scorecards"), ""
    for name in ("", *letter.values(), "apart"):
        table.add_column(name, justify="right" if name in letter.values() else "left")
    for row in rows:
        if row["task"] != task:
            task = row["task"]
            table.add_section()
            table.add_row(task, style="bold")
        word = "better than" if row["better"] else "above"
        table.add_row(row["metric"], *map(scorecard_files.cell, row["of"].values()),
                      ", ".join(f"{letter[one]} {word} {letter[other]}" for one, other in row["apart"] or ()))
    console.plain().print(table)
    for name, card in cards.items():
        run, protocol = card["contestants"]["run"], card["protocol"]
        print(f"{letter[name]}: {name}, {run['name']}, weights {run['digest']}, on {protocol['images']:,} images of "
              f"{protocol['classes']:,} classes ({protocol['source']}), seed {card['seed']}, "
              f"{card['environment']['date'][:10]}")
    other = comparison.otherwise(cards)
    print(f"no difference can be told: {other}" if other else
          "apart: intervals that exclude each other; where they overlap, the two may still differ")


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
