"""Pictures of results: contact sheets, training curves, ROC and DET. Figures of matplotlib, as PNG.

Nothing here touches pyplot or matplotlib's settings for good: a notebook that draws with its own style keeps it.
"""

import io
import math
import os
import warnings
from collections.abc import Callable
from typing import NamedTuple

import matplotlib
import numpy as np
import PIL.Image
import scipy.stats
from matplotlib.figure import Figure

from geodesic import datasets
from geodesic.experiments.process import storage, workdir

# Contact sheets stop here: more rows than anyone looks at.
MAX_ROWS = 24

# A query's path, and (path, cosine) of what it found, best first.
Found = tuple[str, list[tuple[str, float]]]
# From an image's path, as its source names it, to u8[H,W,3].
Reader = Callable[[str], np.ndarray]

# A decorator: matplotlib's settings while a figure is made, and while it is drawn.
styled = matplotlib.rc_context({
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "figure.constrained_layout.use": True})


@styled
def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # of a name in a script that the font has not
        figure.savefig(buffer, format="png", dpi=140)
    return buffer.getvalue()


def write_png(figure: Figure, path: str) -> None:
    workdir.write_atomically(path, png(figure))


def read_file(path: str) -> np.ndarray:
    """Decodes an image file: u8[H,W,3]."""
    return datasets.decode({"image": storage.read(path), "path": path})


def thumbnail(path: str, side: int, read: Reader = read_file) -> PIL.Image.Image:
    """Shrinks an image to side x side pixels at most, RGB; a grey square where it has gone or is damaged."""
    try:
        image = PIL.Image.fromarray(read(path))
    except (OSError, ValueError, KeyError):
        return PIL.Image.new("RGB", (side, side), (200, 200, 200))
    image.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    return image


@styled
def contact_sheet(results: list[Found]) -> Figure:
    """Draws a row for each query: the query, then what was found, with its cosine."""
    shown = results[:MAX_ROWS]
    columns = 1 + max(len(found) for _, found in shown)
    figure = Figure(figsize=(1.15 * columns, 1.5 * len(shown)))
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for row, (query, found) in zip(axes, shown, strict=True):
        for axis in row:
            axis.axis("off")
        _show(row[0], query, "query", "tab:blue")
        for axis, (path, cosine) in zip(row[1:], found, strict=False):
            _show(axis, path, f"{cosine:.3f}", None)
    if len(results) > len(shown):
        figure.suptitle(f"the first {len(shown)} of {len(results)} queries")
    return figure


def _show(axis, path: str, title: str, color: str | None) -> None:
    axis.imshow(thumbnail(path, 160))
    # The last folder is often the class; the whole path does not fit.
    name = os.path.join(os.path.basename(os.path.dirname(path)), os.path.basename(path))
    name = name.encode("utf-8", "replace").decode()  # a name of a file may be of no encoding at all
    axis.set_title(f"{title}\n{name if len(name) <= 22 else '…' + name[-21:]}", fontsize=6, color=color or "black",
                   parse_math=False)


@styled
def curves(metrics: list[dict], untrained: dict | None) -> Figure:
    """Draws loss and accuracy on the training images, and map@r on the test images where it was measured."""
    figure = Figure(figsize=(10, 2.8))
    axes = figure.subplots(1, 3)
    steps = [record for record in metrics if "loss" in record]
    scores = [record for record in metrics if "map@r" in record]
    axes[0].plot([r["step"] for r in steps], [r["loss"] for r in steps], color="tab:red")
    axes[0].set(title="training loss", xlabel="step")
    accurate = [record for record in steps if "accuracy" in record]  # not every loss has one
    axes[1].plot([r["step"] for r in accurate], [r["accuracy"] for r in accurate], color="tab:orange")
    axes[1].set(title="training accuracy, without margin", xlabel="step", ylim=(0, 1.02))
    axes[2].plot([r["step"] for r in scores], [r["map@r"] for r in scores], marker="o", label="trained")
    if untrained:
        axes[2].axhline(untrained["map@r"], color="grey", linestyle=":", label="untrained network")
        axes[2].legend()
    axes[2].set(title="map@r on the test images", xlabel="step")
    return figure


class Band(NamedTuple):
    """An interval of the true accept rate at each false accept rate."""

    far: np.ndarray
    low: np.ndarray
    high: np.ndarray


@styled
def roc_and_det(curves_by_name: dict[str, tuple[np.ndarray, np.ndarray]], emphasised: str, band: Band | None) -> Figure:
    """Draws the same rates, (far, tar) by name, twice: TAR against FAR, and misses against FAR in normal deviates.

    band: the interval of the emphasised curve.
    """
    figure = Figure(figsize=(10, 4))
    roc, det = figure.subplots(1, 2)
    for name, (far, tar) in curves_by_name.items():
        width = 2.4 if name == emphasised else 1.2
        line, = roc.step(far, tar, where="post", label=name, linewidth=width)
        det.step(_deviates(far), _deviates(1 - tar), where="post", color=line.get_color(), linewidth=width)
        if name == emphasised and band is not None:
            roc.fill_between(band.far, band.low, band.high, color=line.get_color(), alpha=0.18, linewidth=0)
            det.fill_between(_deviates(band.far), _deviates(1 - band.high), _deviates(1 - band.low),
                             color=line.get_color(), alpha=0.18, linewidth=0)
    smallest = min(far[far > 0].min() for far, _ in curves_by_name.values())
    roc.set(title="ROC", xscale="log", xlim=(smallest, 1), ylim=(0, 1.01), xlabel="false accept rate",
            ylabel="true accept rate")
    roc.legend(loc="lower right")
    edges = _deviates(np.array([smallest, 0.8]))
    ticks = _det_ticks(*edges)
    names = [f"{rate:g}" if rate >= 1e-3 else f"{rate:.0e}".replace("e-0", "e-") for rate in ticks]
    det.plot(edges, edges, color="grey", linewidth=0.8, linestyle=":")  # where the two errors are equal
    det.set(title="DET", xlabel="false accept rate", ylabel="false reject rate", xlim=edges, ylim=edges,
            xticks=_deviates(ticks), yticks=_deviates(ticks), xticklabels=names, yticklabels=names)
    return figure


def _det_ticks(low: float, high: float) -> list[float]:
    """Rates to write at an axis of normal deviates from `low` to `high`: from the right, each that has room."""
    ticks, left = [], math.inf
    for rate in (0.5, 0.2, 0.05, 0.01, 1e-3, 1e-4, 1e-5, 1e-6):
        place = float(_deviates(rate))
        if place >= low and left - place >= (high - low) / 9:
            ticks, left = [rate, *ticks], place
    return ticks


def _deviates(rates) -> np.ndarray:
    """The normal quantile of a rate; 0 and 1 go to the edge."""
    return scipy.stats.norm.ppf(np.clip(rates, 1e-7, 1 - 1e-7))
