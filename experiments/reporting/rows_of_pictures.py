"""Rows of pictures with a name before each row: as a .html page that opens offline, or as a .png sheet."""

import base64
import html
import io
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from geodesic.experiments.process import workdir
from geodesic.experiments.reporting import page, pictures

MOST_ROWS, MOST_PICTURES = 200, 12  # more than anyone looks at
_TEMPLATE = os.path.join(os.path.dirname(__file__), "found.html")


class Cell(NamedTuple):
    """A picture: its place in the collection, the name below it, a number before that, and the colour of its frame:
    "plain", "query" (blue), "hit" (green) or "miss" (red)."""

    place: int
    name: str
    number: str = ""
    kind: str = "plain"


class Row(NamedTuple):
    """note: a line below the name."""

    name: str
    note: str
    cells: list[Cell]


def write(path: str, rows: list[Row], read: Callable[[int], np.ndarray], titles: list[str], what: str) -> None:
    """Whole or not at all. read: from a place to pixels; grey where it cannot. titles: of all places, such as paths.
    what: a line at the top."""
    shown = rows[:MOST_ROWS if path.endswith(".html") else pictures.MAX_ROWS]
    what = (f"the first {len(shown)} of {len(rows):,} rows; " if len(rows) > len(shown) else "") + what
    thumbnail = lambda cell: pictures.thumbnail(titles[cell.place], 112, lambda _: read(cell.place))
    if path.endswith(".html"):
        content = page.render(_TEMPLATE, os.path.splitext(os.path.basename(path))[0], what=html.escape(what),
                              rows="\n".join(_row(row, thumbnail, titles) for row in shown)).encode()
    else:
        content = pictures.png(_figure(shown, thumbnail, what))
    workdir.write_atomically(path, content)


def _row(row: Row, thumbnail: Callable, titles: list[str]) -> str:
    cells = "".join(_cell(cell, thumbnail(cell), titles[cell.place]) for cell in row.cells[:MOST_PICTURES])
    rest = len(row.cells) - MOST_PICTURES
    more = f'<div class="answer"><i>and {rest:,} more</i></div>' if rest > 0 else ""
    return (f'  <div class="row"><div class="answer"><b>{html.escape(row.name)}</b><br>{html.escape(row.note)}</div>'
            f"{cells}{more}</div>")


def _cell(cell: Cell, image, title: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return (f'<figure class="found {cell.kind}" title="{html.escape(title)}"><img alt="" '
            f'src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
            f"<figcaption><b>{html.escape(cell.number)}</b> {html.escape(cell.name)}</figcaption></figure>")


@pictures.styled
def _figure(rows: list[Row], thumbnail: Callable, what: str) -> Figure:
    columns = 1 + max(min(len(row.cells), MOST_PICTURES) for row in rows)
    figure = Figure(figsize=(max(1.15 * columns, 6.0), 1.4 * len(rows) + 0.4), layout="constrained")
    for line, row in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
        for axis in line:
            axis.axis("off")
        line[0].text(0.5, 0.5, f"{_short(row.name)}\n{_short(row.note)}", ha="center", va="center", fontsize=7,
                     parse_math=False)
        for axis, cell in zip(line[1:], row.cells, strict=False):
            axis.imshow(thumbnail(cell))
            axis.set_title(f"{cell.number} {_short(cell.name, 16)}".strip(), fontsize=6, parse_math=False)
    figure.suptitle(what, fontsize=7, parse_math=False)
    return figure


def _short(name: str, most: int = 24) -> str:
    name = name.encode("utf-8", "replace").decode()  # a name of a file may be of no encoding at all
    return name if len(name) <= most else name[:most - 1] + "…"
