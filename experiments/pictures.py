"""Pictures of results: contact sheets, curves, ROC, and a map of embeddings. Figures of matplotlib, as PNG."""

import io
import os
from collections.abc import Callable

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

import datasets
from experiments import workdir

# Contact sheets stop here: more rows than anyone looks at.
MAX_ROWS = 24
# t-SNE grows with the square of the points, thumbnails crowd.
MAX_TSNE, MAX_THUMBNAILS = 5000, 200

# A query's path, and (path, cosine) of what it found, best first.
Found = tuple[str, list[tuple[str, float]]]
# From an image's path, as its source names it, to u8[H,W,3].
Reader = Callable[[str], np.ndarray]

plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
                     "grid.alpha": 0.25, "figure.constrained_layout.use": True})


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140)
    plt.close(figure)
    return buffer.getvalue()


def write_png(figure: Figure, path: str) -> None:
    workdir.write_atomically(path, png(figure))


def read_file(path: str) -> np.ndarray:
    """u8[H,W,3]."""
    with open(path, "rb") as file:
        return datasets.decode({"image": file.read(), "path": path})


def thumbnail(path: str, side: int, read: Reader = read_file) -> PIL.Image.Image:
    """At most side x side pixels, RGB. A grey square where the image has gone or is damaged."""
    try:
        image = PIL.Image.fromarray(read(path))
    except (OSError, ValueError, KeyError):
        return PIL.Image.new("RGB", (side, side), (200, 200, 200))
    image.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    return image


def contact_sheet(results: list[Found]) -> Figure:
    """A row for each query: the query, then what was found, with its cosine."""
    shown = results[:MAX_ROWS]
    columns = 1 + max(len(found) for _, found in shown)
    figure, axes = plt.subplots(len(shown), columns, figsize=(1.15 * columns, 1.5 * len(shown)), squeeze=False)
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
    axis.set_title(f"{title}\n{name if len(name) <= 22 else '…' + name[-21:]}", fontsize=6, color=color or "black")


def curves(metrics: list[dict], untrained: dict | None) -> Figure:
    """Loss and accuracy on the training images; map@r on the test images where it was measured."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.8))
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


def roc(curves_by_name: dict[str, tuple[np.ndarray, np.ndarray]], emphasised: str) -> Figure:
    """TAR against FAR, logarithmic, one line for each name: (far, tar)."""
    figure, axis = plt.subplots(figsize=(5, 3.8))
    for name, (far, tar) in curves_by_name.items():
        axis.step(far, tar, where="post", label=name, linewidth=2.4 if name == emphasised else 1.2)
    smallest = min(far[far > 0].min() for far, _ in curves_by_name.values())
    axis.set(xscale="log", xlim=(smallest, 1), ylim=(0, 1.01), xlabel="false accept rate", ylabel="true accept rate")
    axis.legend(loc="lower right")
    return figure


def embedding_map(embeddings: np.ndarray, labels: np.ndarray, paths: list[str], class_names: list[str],
                  seed: int, read: Reader = read_file) -> Figure:
    """Embeddings in two dimensions, t-SNE by cosine (PCA past 5,000 points), framed in the colour of their class."""
    few = len(embeddings) <= MAX_TSNE and len(embeddings) > 3
    reduce = (TSNE(2, metric="cosine", init="random", perplexity=min(20, (len(embeddings) - 1) / 3), random_state=seed)
              if few else PCA(2, random_state=seed))
    points = reduce.fit_transform(embeddings)
    classes = np.unique(labels)
    few_classes = len(classes) <= 10
    colors = plt.get_cmap("tab10" if few_classes else "turbo")
    color_of = {label: colors(index if few_classes else index / len(classes)) for index, label in enumerate(classes)}
    figure, axis = plt.subplots(figsize=(9, 6.4))
    axis.scatter(*points.T, s=6, c=[color_of[label] for label in labels])
    if len(points) <= MAX_THUMBNAILS:
        for point, label, path in zip(points, labels, paths, strict=True):
            image = OffsetImage(np.asarray(thumbnail(path, 48, read)), zoom=0.45)
            frame = {"edgecolor": color_of[label], "linewidth": 1.6}
            axis.add_artist(AnnotationBbox(image, point, pad=0.12, bboxprops=frame))
    if few_classes:
        for label in classes:
            axis.scatter([], [], color=color_of[label], label=class_names[label])
        axis.legend(title="class", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axis.set(xticks=[], yticks=[], title=f"{'t-SNE' if few else 'PCA'} of {len(points):,} test embeddings")
    axis.grid(False)
    return figure
