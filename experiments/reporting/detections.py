"""Pictures with boxes drawn on them: sheets of detections and of data, and the report's best and worst images."""

import base64
import html
import io
import math
import os
from typing import NamedTuple

import matplotlib
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from matplotlib.figure import Figure

from geodesic.experiments.process import workdir
from geodesic.experiments.reporting import page, pictures

# How many pictures a sheet has room for.
MOST = 60
# Pictures in a row of a sheet; pixels of the longer side of each.
_COLUMNS, _SIDE = 3, 560
_TEMPLATE = os.path.join(os.path.dirname(__file__), "sheet.html")
# A dashed outline is of an object that nothing was found for, a crossed one of a crowd.
MISSED, CROWD = "missed", "crowd"
_COLOURS = [tuple(round(255 * part) for part in matplotlib.colormaps["tab10"](place)[:3]) for place in range(10)]


class Shown(NamedTuple):
    """A picture with boxes.

    Attributes:
      path: for its caption.
      pixels: u8[H,W,3].
      boxes: f[K,4], x1, y1, x2, y2 in pixels of the picture.
      classes: i[K]: a class has one colour.
      captions: of each box; MISSED dashes it, CROWD crosses it out, and both leave the caption out.
      note: below the picture.
    """

    path: str
    pixels: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    captions: list[str]
    note: str = ""


def draw(shown: Shown, side: int = _SIDE) -> PIL.Image.Image:
    """The picture with its boxes, its longer side that many pixels long.

    Example:
      >>> import numpy as np
      >>> from geodesic.experiments.reporting import detections
      >>> picture = detections.Shown("a.png", np.zeros((30, 60, 3), np.uint8), np.array([[10.0, 5, 40, 25]]),
      ...                            np.array([0]), ["cell 0.9"])
      >>> detections.draw(picture, side=120).size
      (120, 60)
    """
    height, width = shown.pixels.shape[:2]
    scale = side / max(height, width)
    image = PIL.Image.fromarray(shown.pixels).resize((max(round(width * scale), 1), max(round(height * scale), 1)),
                                                     PIL.Image.Resampling.LANCZOS)
    canvas, font = PIL.ImageDraw.Draw(image), PIL.ImageFont.load_default(size=11)
    # The best last, so that it lies above the others.
    for box, label, caption in reversed([*zip(np.asarray(shown.boxes) * scale, shown.classes, shown.captions,
                                              strict=True)]):
        colour = _COLOURS[int(label) % len(_COLOURS)]
        if caption == MISSED:
            _dashed(canvas, box, colour)
            continue
        left, top, right, bottom = map(float, box)
        canvas.rectangle([left, top, right, bottom], outline=colour, width=2)
        if caption == CROWD:
            canvas.line([(left, top), (right, bottom)], fill=colour, width=2)
            canvas.line([(left, bottom), (right, top)], fill=colour, width=2)
            continue
        place = (left + 2, max(top - 13, 0))
        text = caption.encode("utf-8", "replace").decode()
        canvas.rectangle(canvas.textbbox(place, text, font=font), fill=colour)
        canvas.text(place, text, fill="white", font=font)
    return image


def _dashed(canvas, box, colour, dash: int = 6) -> None:
    left, top, right, bottom = map(float, box)
    for start in np.arange(left, right, 2 * dash):
        for y in (top, bottom):
            canvas.line([(start, y), (min(start + dash, right), y)], fill=colour, width=2)
    for start in np.arange(top, bottom, 2 * dash):
        for x in (left, right):
            canvas.line([(x, start), (x, min(start + dash, bottom))], fill=colour, width=2)


def cell(shown: Shown) -> str:
    """HTML of the picture with its boxes and its captions."""
    buffer = io.BytesIO()
    draw(shown).save(buffer, "JPEG", quality=85)
    return (f'<figure class="boxes"><img alt="" title="{html.escape(shown.path)}" '
            f'src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
            f"<figcaption>{html.escape(os.path.basename(shown.path))} {html.escape(shown.note)}</figcaption></figure>")


STYLE = ("<style>figure.boxes { width: 340px; } figure.boxes img { width: 340px; height: auto; border: 0; "
         "border-radius: 0; object-fit: contain; }</style>")


def write_sheet(path: str, shown: list[Shown], count: int, what: str) -> None:
    """A .png, or a .html page that opens offline; whole or not at all.

    shown: the first of `count` pictures, MOST at most. what: a line on them.
    """
    more = f"the first {len(shown)} of {count:,} pictures; " if count > len(shown) else ""
    if path.endswith(".html"):
        content = page.render(_TEMPLATE, os.path.splitext(os.path.basename(path))[0], what=html.escape(more + what),
                              pictures=STYLE + "".join(map(cell, shown))).encode()
    else:
        content = png(shown, more + what)
    workdir.write_atomically(path, content)


def png(shown: list[Shown], title: str) -> bytes:
    """A sheet of pictures with their boxes, as the content of a .png."""
    return pictures.png(_grid(shown, title))


@pictures.styled
def _grid(shown: list[Shown], title: str) -> Figure:
    columns = max(min(_COLUMNS, len(shown)), 1)
    lines = max(math.ceil(len(shown) / columns), 1)
    figure = Figure(figsize=(4.0 * columns, 3.2 * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set(xticks=[], yticks=[], frame_on=False)
    for axis, one in zip(axes, shown, strict=False):
        axis.imshow(draw(one))
        name = os.path.basename(one.path).encode("utf-8", "replace").decode()
        axis.set_title(f"{name} {one.note}"[-60:], fontsize=7, color="tab:blue", parse_math=False)
    figure.suptitle(title, fontsize=8, parse_math=False)
    return figure
