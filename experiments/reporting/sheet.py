"""Pictures with the names that a classifier gave them: a sheet, as a .png or as a page that opens offline."""

import base64
import html
import io
import math
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import PIL.Image
from matplotlib.figure import Figure

from geodesic.experiments.process import workdir
from geodesic.experiments.reporting import page, pictures

# Pictures of a sheet, in each of its rows, and names below each.
_MOST, _COLUMNS, _NAMES = 120, 6, 3
_TEMPLATE = os.path.join(os.path.dirname(__file__), "sheet.html")


class Named(NamedTuple):
    """A picture, its place in its source, and (class, probability) of its likeliest classes, the likeliest first."""

    path: str
    place: int
    classes: list[tuple[str, float]]


def write(path: str, rows: list[Named], read: Callable[[Named], np.ndarray], what: str) -> None:
    """Whole or not at all. read: from a row to its pixels, u8[H,W,3]. what: a line on the probabilities."""
    shown = rows[:_MOST]
    more = f"the first {len(shown)} of {len(rows):,} pictures; " if len(rows) > len(shown) else ""
    if path.endswith(".html"):
        content = page.render(_TEMPLATE, os.path.splitext(os.path.basename(path))[0], what=html.escape(more + what),
                              pictures="".join(_cell(row, _thumbnail(row, read)) for row in shown)).encode()
    else:
        content = pictures.png(draw(shown, read, more + what))
    workdir.write_atomically(path, content)


@pictures.styled
def draw(rows: list[Named], read: Callable[[Named], np.ndarray], title: str = "") -> Figure:
    """Draws a grid of pictures, each with its file's name above it and its likeliest classes below."""
    columns = min(_COLUMNS, len(rows))
    lines = math.ceil(len(rows) / columns)
    figure = Figure(figsize=(max(2.0 * columns, 6.0), 2.6 * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set(xticks=[], yticks=[], frame_on=False)
    for axis, row in zip(axes, rows, strict=False):
        axis.imshow(_thumbnail(row, read))
        axis.set_title(_short(os.path.basename(row.path)), fontsize=6, color="tab:blue", parse_math=False)
        # A label of the axis and not a text below it: the layout leaves room for it.
        axis.set_xlabel("\n".join(f"{_short(name)}  {sure:.2f}" for name, sure in row.classes[:_NAMES]), fontsize=7,
                        parse_math=False)
    figure.suptitle(title, fontsize=7, parse_math=False)
    return figure


def _thumbnail(row: Named, read: Callable[[Named], np.ndarray]) -> PIL.Image.Image:
    return pictures.thumbnail(row.path, 220, lambda _: read(row))


def _short(name: str) -> str:
    name = name.encode("utf-8", "replace").decode()  # a name of a file may be of no encoding at all
    return name if len(name) <= 28 else name[:27] + "…"


def _cell(row: Named, image: PIL.Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    names = "".join(f"<div>{html.escape(name)} <b>{sure:.2f}</b></div>" for name, sure in row.classes)
    return (f'<figure class="named"><img alt="" title="{html.escape(row.path)}" '
            f'src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
            f"<figcaption><i>{html.escape(os.path.basename(row.path))}</i>{names}</figcaption></figure>")
