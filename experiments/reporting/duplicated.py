"""Pictures that are the same: as a table, CSV or JSON, and as a page with a row for each group."""

import json
import math
import os
from collections.abc import Callable

import numpy as np
import rich.table

from geodesic.experiments.process import console
from geodesic.experiments.protocols import duplicates
from geodesic.experiments.reporting import asked, rows_of_pictures

_LISTED = 20  # groups of a table
NAMES = {"file": "the same file", "pixels": "the same pixels", "near": "edited"}


def text(pairs: list[duplicates.Pair], paths: list[str], parts: list[str], how: list[str], written: str) -> str:
    """paths, parts: of each picture, and the name of what it is part of."""
    rows = [{"one": paths[pair.one], "other": paths[pair.other], "kind": pair.kind,
             "agreement": round(pair.agreement, 4),
             "cosine": None if math.isnan(pair.cosine) else round(pair.cosine, 4),
             "across": parts[pair.one] != parts[pair.other]} for pair in pairs]
    groups = duplicates.grouped(pairs, len(paths))
    if written == "json":
        named = [[paths[place] for place in group] for group in groups]
        return json.dumps({"how": how, "pairs": rows, "groups": named}, indent=1) + "\n"
    if written == "csv":
        return asked.csv_text(("one", "other", "kind", "agreement", "cosine", "across"), (
            (row["one"], row["other"], row["kind"], row["agreement"], "" if row["cosine"] is None else row["cosine"],
             "yes" if row["across"] else "no") for row in rows))
    table = rich.table.Table()
    several = len({*parts}) > 1
    for name, justify in (("group", "right"), ("pictures", "left"), ("", "left"), *[("in", "left")] * several):
        table.add_column(name, justify=justify, overflow="fold")
    closest = _closest(pairs, groups)
    for number, group in enumerate(groups[:_LISTED]):
        for place in group:
            table.add_row(str(number) if place == group[0] else "", paths[place],
                          NAMES[closest[place].kind] if place in closest else "", *[parts[place]] * several,
                          end_section=place == group[-1])
    more = f"and {len(groups) - _LISTED:,} more groups\n" if len(groups) > _LISTED else ""
    return console.text(table) + more + "".join(f"{line}\n" for line in [*how, *counts(pairs, parts)])


def counts(pairs: list[duplicates.Pair], parts: list[str]) -> list[str]:
    """How many pairs there are of each kind, within each part and across."""
    several = len({*parts}) > 1
    lines = []
    for kind in duplicates.KINDS:
        found = [(parts[pair.one], parts[pair.other]) for pair in pairs if pair.kind == kind]
        within = ", ".join(f"{sum(one == other == part for one, other in found):,} within {part}"
                           for part in dict.fromkeys(parts))
        across = sum(one != other for one, other in found)
        lines.append(f"{NAMES[kind]}: " + (f"{within}, {across:,} ACROSS" if several else f"{len(found):,} pair(s)"))
    return lines


def _closest(pairs: list[duplicates.Pair], groups: list[list[int]]) -> dict[int, duplicates.Pair]:
    """The pair that says most of each picture but the first of its group."""
    firsts, found = {group[0] for group in groups}, {}
    for pair in sorted(pairs, key=lambda pair: (duplicates.KINDS.index(pair.kind), -pair.agreement)):
        for place in {pair.one, pair.other} - firsts:
            found.setdefault(place, pair)
    return found


def write(path: str, pairs: list[duplicates.Pair], paths: list[str], parts: list[str],
          read: Callable[[int], np.ndarray], how: str) -> None:
    """A row for each group; framed in blue the first, in red what is of another part than it."""
    several, groups, rows = len({*parts}) > 1, duplicates.grouped(pairs, len(paths)), []
    closest = _closest(pairs, groups)
    for number, group in enumerate(groups):
        cells = [rows_of_pictures.Cell(
            place, os.path.basename(paths[place]) + (f" {NAMES[closest[place].kind]}" if place in closest else ""),
            f"{closest[place].agreement:.2f}" if place in closest else "",
            "query" if place == group[0] else "miss" if parts[place] != parts[group[0]] else "plain")
            for place in group]
        note = f"{len(group)} pictures" + (", ACROSS" if several and len({parts[place] for place in group}) > 1 else "")
        rows.append(rows_of_pictures.Row(f"group {number}", note, cells))
    rows_of_pictures.write(path, rows, read, paths, how + ("; framed in red: of another part than the first"
                                                           if several else ""))
