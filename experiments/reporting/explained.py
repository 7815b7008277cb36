"""Why two pictures match, and why one has its class: maps over the pictures, as a page, a .png or JSON."""

import html
import json
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import PIL.Image
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from geodesic.experiments.process import workdir
from geodesic.experiments.reporting import page, pictures
from geodesic.experiments.trained import attribution
from geodesic.metrics import saliency

EXTENSIONS = (".html", ".png", ".json")
_TEMPLATE = os.path.join(os.path.dirname(__file__), "explained.html")
_LINKS, _CHANNELS = 6, 10
COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080")


class Row(NamedTuple):
    """One picture's row of the figure: its name, as the network sees it, what each place adds, and Grad-CAM's map.

    box: x1, y1, x2, y2 in pixels of the view, a detector's.
    """

    name: str
    view: np.ndarray
    map: np.ndarray
    gradient: np.ndarray
    box: np.ndarray | None = None


def strongest_links(links: np.ndarray, count: int = _LINKS) -> list[tuple[int, int, int, int, float]]:
    """(row, column of one, row, column of the other, what both add) of the pairs of places that add most, links
    f[h,w,h,w], each place in one pair at most.

    Example:
        >>> import numpy as np
        >>> from geodesic.experiments.reporting import explained
        >>> links = np.array([[5.0, 4.0], [3.0, 1.0]]).reshape(1, 2, 1, 2)
        >>> explained.strongest_links(links)
        [(0, 0, 0, 0, 5.0), (0, 1, 0, 1, 1.0)]
    """
    _, width, _, other_width = links.shape
    rest, found = links.reshape(links.shape[0] * width, -1).astype(np.float64).copy(), []
    while len(found) < min(count, *rest.shape):
        one, other = divmod(int(rest.argmax()), rest.shape[1])
        found.append((*divmod(one, width), *divmod(other, other_width), float(rest[one, other])))
        rest[one], rest[:, other] = -np.inf, -np.inf
    return found


def write(path: str, record: dict, rows: list[Row], links: list, curves: list[dict] | None) -> None:
    """Whole or not at all, by the extension: the page, the figure, or the record."""
    if path.endswith(".json"):
        content = (json.dumps(record, indent=1) + "\n").encode()
    elif path.endswith(".png"):
        content = pictures.png(draw(rows, links, record["title"]))
    else:
        content = _page(record, rows, links, curves).encode()
    workdir.write_atomically(path, content)


@pictures.styled
def draw(rows: list[Row], links: list, title: str = "") -> Figure:
    """Each picture with the places that are joined, what its places add, and Grad-CAM."""
    heights = [row.view.shape[0] / row.view.shape[1] for row in rows]
    figure = Figure(figsize=(10, 3.4 * sum(heights) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), 3, squeeze=False, height_ratios=heights)
    largest = max(float(abs(row.map).max()) for row in rows) or 1.0
    for place, (line, (name, view, map_, gradient, box)) in enumerate(zip(axes, rows, strict=True)):
        for axis in line:
            axis.set(xticks=[], yticks=[], frame_on=False)
        line[0].imshow(view)
        line[0].set_title(name, fontsize=8, parse_math=False)
        for number, link in enumerate(links):
            _frame(line[0], link[2 * place:2 * place + 2], map_.shape, view.shape, number)
        shown = _over(line[1], view, map_, -largest, largest, "RdBu_r")
        line[1].set_title(f"what each place adds: {map_.sum():.4f} in all", fontsize=8)
        _over(line[2], view, gradient, 0, float(gradient.max()) or 1.0, "inferno")
        line[2].set_title("Grad-CAM, for comparison" + ("" if gradient.any() else ": 0 everywhere"), fontsize=8)
        for axis in line if box is not None else ():
            axis.add_patch(Rectangle(box[:2] - 0.5, *(box[2:] - box[:2]), fill=False, linewidth=2,
                                     edgecolor=COLORS[1]))
    figure.colorbar(shown, ax=axes[:, 1].tolist(), shrink=0.7)
    figure.suptitle(title, fontsize=9, parse_math=False)
    return figure


@pictures.styled
def draw_curves(curves: list[dict]) -> Figure:
    """The score as places are taken away, and as they come, by both maps."""
    figure = Figure(figsize=(10, 3), layout="constrained")
    for axis, kind in zip(figure.subplots(1, 2), ("deletion", "insertion"), strict=True):
        for one in curves:
            values = one[kind]
            axis.plot(np.linspace(0, 1, len(values)), values, label=f"{one['name']}: area {one[f'{kind}_area']:.3f}")
        axis.set(title=kind, xlabel=f"share of places {'taken away' if kind == 'deletion' else 'shown'}",
                 ylabel="score")
        axis.legend(fontsize=7)
    return figure


def channels_of(found: attribution.Pair) -> list[dict]:
    """The numbers of the embedding that add most to the cosine, of either sign."""
    order = np.argsort(-abs(found.channels), kind="stable")[:_CHANNELS]
    return [{"channel": int(one), "adds": float(found.channels[one])} for one in order]


def curves_of(score: Callable, view: np.ndarray, maps: dict[str, np.ndarray]) -> list[dict]:
    """Deletion and insertion by each map; what is not known is the picture's mean colour."""
    filled = np.broadcast_to(view.mean(axis=(0, 1)).round().astype(np.uint8), view.shape)
    return [{"name": name} | {
        kind: value.tolist() if isinstance(value, np.ndarray) else value
        for kind, value in saliency.deletion_and_insertion(score, view, map_, filled).items()}
        for name, map_ in maps.items()]


def _page(record: dict, rows: list[Row], links: list, curves: list[dict] | None) -> str:
    figure = page.plot(pictures.png(draw(rows, links)), "pictures, and what each of their places adds")
    more = "" if curves is None else ("<h2>Deletion and insertion</h2>"
                                      + page.plot(pictures.png(draw_curves(curves)), "deletion and insertion"))
    channels = "".join(f"<tr><th>{one['channel']}</th><td>{one['adds']:+.4f}</td></tr>"
                       for one in record.get("channels", []))
    table = ("<h2>Numbers of the embedding that add most</h2><table><tr><th>number</th><th>adds</th></tr>"
             f"{channels}</table>") if channels else ""
    return page.render(_TEMPLATE, record["title"], what=html.escape(record["what"]), figure=figure, curves=more,
                       channels=table, record=html.escape(json.dumps(
                           {name: value for name, value in record.items() if name not in ("maps", "curves")},
                           indent=1)))


def _over(axis, view: np.ndarray, map_: np.ndarray, low: float, high: float, colors: str):
    """A map over a grey picture."""
    axis.imshow(np.asarray(PIL.Image.fromarray(view).convert("L")), cmap="gray")
    extent = (-0.5, view.shape[1] - 0.5, view.shape[0] - 0.5, -0.5)
    return axis.imshow(map_, cmap=colors, vmin=low, vmax=high, alpha=0.6, extent=extent, interpolation="bilinear")


def _frame(axis, place: tuple[int, int], places: tuple[int, int], pixels: tuple[int, ...], number: int) -> None:
    height, width = pixels[0] / places[0], pixels[1] / places[1]
    corner = (place[1] * width, place[0] * height)
    axis.add_patch(Rectangle(corner, width, height, fill=False, linewidth=2, edgecolor=COLORS[number]))
    axis.text(corner[0] + 2, corner[1] + height - 3, str(number + 1), color=COLORS[number], fontsize=8, weight="bold")

