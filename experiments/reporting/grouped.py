"""Groups of pictures: as a table, CSV or JSON, as a page with a row for each, and as folders of links."""

import collections
import json
import os
import shutil
import tempfile

import rich.table

from geodesic.errors import UserError
from geodesic.experiments.process import console, storage
from geodesic.experiments.protocols import grouping
from geodesic.experiments.reporting import asked, rows_of_pictures
from geodesic.experiments.trained.collection import Collection

_LISTED = 20  # groups of a table
NAMES = {"bcubed_f": "B-cubed F", "bcubed_precision": "B-cubed precision", "bcubed_recall": "B-cubed recall",
         "ami": "AMI", "nmi": "NMI", "alone": "share left alone", "false_pairs": "pairs of two labels in one group",
         "true_pairs": "pairs of one label in one group"}


def text(found: Collection, grouped: grouping.Grouped, scores: dict, how: list[str], written: str) -> str:
    groups = grouped.groups.tolist()
    if written == "json":
        members = [grouped.members(number).tolist() for number in range(grouped.count)]
        return json.dumps({
            "how": how, "scores": {name: interval._asdict() for name, interval in scores.items()},
            "groups": [{"group": number, "size": len(rows), "ids": [found.ids[row] for row in rows]}
                       for number, rows in enumerate(members)],
            "alone": [found.ids[row] for row in grouped.members(-1)]}, indent=1) + "\n"
    if written == "csv":
        return asked.csv_text(("id", "path", "label", "group"), (
            (found.ids[row], found.paths[row], found.labels[row], "" if number < 0 else number)
            for row, number in enumerate(groups)))
    return _table(found, grouped) + "".join(f"{line}\n" for line in [*how, *score_lines(scores)])


def score_lines(scores: dict) -> list[str]:
    """A line for each score with its interval."""
    shown = lambda value: f"{value:.3g}" if abs(value) < 0.01 else f"{value:.3f}"
    return [f"{title}: {shown(scores[name].estimate)}" + (
        "" if scores[name].low is None else f" [{shown(scores[name].low)}, {shown(scores[name].high)}]")
        for name, title in NAMES.items() if name in scores] + (
            ["intervals: 95 %, by the bootstrap over labels"] if scores else [])


def _table(found: Collection, grouped: grouping.Grouped) -> str:
    table = rich.table.Table()
    for name, justify in (("group", "right"), ("pictures", "right"), ("label", "left"), ("most central", "left")):
        table.add_column(name, justify=justify, overflow="fold")
    for number in range(min(grouped.count, _LISTED)):
        members = grouped.members(number)
        first = grouping.central(found.embeddings, members)[0][0]
        table.add_row(str(number), f"{len(members):,}", label(found, members), found.ids[first])
    alone = len(grouped.members(-1))
    more = f"and {grouped.count - _LISTED:,} more groups\n" if grouped.count > _LISTED else ""
    return (console.text(table) + more + f"{len(found.ids):,} pictures in {grouped.count:,} groups, {alone:,} left "
            f"alone\n")


def label(found: Collection, members) -> str:
    """The label of most of them, and of how many where it is not of all."""
    if not any(found.labels):
        return ""
    name, count = collections.Counter(found.labels[row] for row in members).most_common(1)[0]
    return name if count == len(members) else f"{name} ({count / len(members):.0%})"


def write_page(path: str, found: Collection, grouped: grouping.Grouped, what: str) -> None:
    """A row for each group; framed in green where a picture has the label of most of its group, in red where not."""
    most = rows_of_pictures.MOST_ROWS
    rows = [_row(found, grouped, number) for number in range(grouped.count)[:most]]
    rows += [None] * max(grouped.count - most, 0)  # they are counted, and not drawn
    if len(alone := grouped.members(-1)) and grouped.count < most:
        rows.append(rows_of_pictures.Row("left alone", f"{len(alone):,} pictures", [
            rows_of_pictures.Cell(place, _name(found, place)) for place in alone.tolist()]))
    if any(found.labels):
        what += "; framed in green: of the label of most of the group, in red: of another"
    titles = [path or name for path, name in zip(found.paths, found.ids, strict=True)]
    rows_of_pictures.write(path, rows, found.read, titles, what)


def _row(found: Collection, grouped: grouping.Grouped, number: int) -> rows_of_pictures.Row:
    members, cosines = grouping.central(found.embeddings, grouped.members(number))
    common = collections.Counter(found.labels[row] for row in members).most_common(1)[0][0]
    kind = lambda row: "plain" if not any(found.labels) else "hit" if found.labels[row] == common else "miss"
    cells = [rows_of_pictures.Cell(row, _name(found, row), f"{cosine:.2f}", kind(row))
             for row, cosine in zip(members.tolist(), cosines.tolist(), strict=True)]
    # Whoever does not belong is worth seeing, also where there are more pictures than a row shows.
    first = rows_of_pictures.MOST_PICTURES
    others = [cell for cell in cells[first:] if cell.kind == "miss"][:first // 3]
    shown = cells[:first - len(others)] + others if others else cells[:first]
    rest = [cell for cell in cells if cell not in shown]
    return rows_of_pictures.Row(f"group {number}", ", ".join(filter(None, (
        f"{len(members):,} pictures", label(found, members)))), shown + rest)


def _name(found: Collection, place: int) -> str:
    return found.labels[place] or os.path.basename(found.paths[place] or found.ids[place])


def write_links(folder: str, found: Collection, grouped: grouping.Grouped) -> int:
    """A folder of links to the pictures for each group, and one, `alone`, of those left alone; whole or not at all.
    Returns how many pictures are no files of this machine, and have none. Raises UserError where the folder is there.
    """
    check_links(folder)
    folder = os.path.abspath(folder)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    begun, missing = tempfile.mkdtemp(prefix=".links", dir=os.path.dirname(folder)), 0
    try:
        os.chmod(begun, 0o755)
        for number in [*range(grouped.count), -1]:
            place = os.path.join(begun, f"group_{number:0{len(str(max(grouped.count - 1, 0)))}}" if number >= 0 else
                                 "alone")
            files = [found.paths[row] for row in grouped.members(number)
                     if found.paths[row] and not storage.is_remote(found.paths[row])
                     and os.path.exists(found.paths[row])]
            missing += len(grouped.members(number)) - len(files)
            if files:
                os.mkdir(place)
            taken = collections.Counter(os.path.basename(file) for file in files)
            for count, file in enumerate(files):
                name = os.path.basename(file)
                os.symlink(os.path.abspath(file), os.path.join(place, name if taken[name] == 1 else
                                                               f"{count:04}_{name}"))
        os.rename(begun, folder)
    except BaseException:
        shutil.rmtree(begun, ignore_errors=True)
        raise
    return missing


def check_links(folder: str) -> None:
    if os.path.lexists(folder):
        raise UserError(f"{folder} is there: give another --links, or remove it")
