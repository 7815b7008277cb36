"""What is recommended: as a table, CSV or JSON, and as pictures below those that are liked and disliked."""

import json
import os

import rich.table

from geodesic.experiments.process import console
from geodesic.experiments.reporting import asked, rows_of_pictures
from geodesic.experiments.trained.collection import Collection
from geodesic.experiments.trained.recommending import Recommended, Seeds


def text(rows: list[Recommended], liked: Seeds, disliked: Seeds, how: str, written: str) -> str:
    if written == "json":
        return json.dumps({"how": how, "liked": liked.names, "disliked": disliked.names, "recommended": [
            {"rank": rank, **{name: value for name, value in row._asdict().items() if name != "place"}}
            for rank, row in enumerate(rows, start=1)]}, indent=1) + "\n"
    if written == "csv":
        return asked.csv_text(("rank", "id", "path", "label", "cosine"), (
            (rank, row.id, row.path, row.label, f"{row.cosine:.6f}") for rank, row in enumerate(rows, start=1)))
    table = rich.table.Table()
    for name, justify in (("rank", "right"), ("cosine", "right"), ("label", "left"), ("id", "left")):
        table.add_column(name, justify=justify, overflow="fold")
    for rank, row in enumerate(rows, start=1):
        table.add_row(str(rank), f"{row.cosine:.4f}", row.label, row.id)
    return console.text(table) + f"{how}\n"


def write(path: str, found: Collection, rows: list[Recommended], liked: Seeds, disliked: Seeds, seeds_read,
          how: str) -> None:
    """seeds_read: from a seed's name to its pixels, where it is no row of the collection."""
    titles, outside = [row_path or name for row_path, name in zip(found.paths, found.ids, strict=True)], {}

    def cell(name: str, place: int, kind: str) -> rows_of_pictures.Cell:
        if place < 0:  # after all rows of the collection
            place = len(found.ids) + len(outside)
            outside[place] = name
            titles.append(name)
            return rows_of_pictures.Cell(place, os.path.basename(name), kind=kind)
        return rows_of_pictures.Cell(place, _name(found, place), kind=kind)

    shown = [rows_of_pictures.Row(title, "", [cell(name, place, kind) for name, place in zip(
        seeds.names, seeds.places, strict=True)]) for title, seeds, kind in (
            ("like these", liked, "query"), ("unlike those", disliked, "miss")) if seeds.names]
    most = rows_of_pictures.MOST_PICTURES
    for start in range(0, len(rows), most):
        part = rows[start:start + most]
        shown.append(rows_of_pictures.Row("recommended", f"{start + 1} to {start + len(part)}", [
            rows_of_pictures.Cell(row.place, _name(found, row.place), f"{row.cosine:.2f}") for row in part]))
    read = lambda place: seeds_read(outside[place]) if place in outside else found.read(place)
    rows_of_pictures.write(path, shown, read, titles, how)


def _name(found: Collection, place: int) -> str:
    return found.labels[place] or os.path.basename(found.paths[place] or found.ids[place])
