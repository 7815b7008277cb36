"""Embeddings in two dimensions as a piece of HTML: a point for each image, its photograph where the pointer is."""

import base64
import html
import io
import json
import os
import re

import numpy as np
import PIL.Image
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from geodesic.experiments.reporting import pictures

# t-SNE grows with the square of the points.
MAX_TSNE = 5000
# Points that are drawn, and the side in pixels of their photographs: what a page of a few megabytes can hold.
MAX_POINTS, SIDE, _COLUMNS = 2000, 48, 40
_SCRIPT = os.path.join(os.path.dirname(__file__), "embedding_map.html")


def render(embeddings: np.ndarray, labels: np.ndarray, paths: list[str], class_names: list[str], seed: int,
           read: pictures.Reader) -> str:
    """t-SNE by cosine, PCA past 5,000 images; of more than 2,000 images a sample is drawn."""
    points, method = coordinates(embeddings, seed)
    shown = sample(len(points), MAX_POINTS, seed)
    content = {
        "x": _spread(points[shown, 0]), "y": _spread(points[shown, 1]), "label": labels[shown].tolist(),
        "name": [class_names[label] for label in labels[shown]],
        "path": [os.path.join(os.path.basename(os.path.dirname(paths[i])), os.path.basename(paths[i])) for i in shown],
        "side": SIDE, "columns": _COLUMNS,
    }
    drawn = "" if len(shown) == len(points) else f"; {len(shown):,} of them drawn"
    with open(_SCRIPT) as file:
        page = file.read()
    parts = {
        "@TITLE": html.escape(f"{method} of {len(points):,} test embeddings{drawn}. A colour for each class; point at "
                              f"one to see its photograph."),
        # "</script>" in a file's name would end the script, and "<!--" open a comment in it.
        "@DATA": json.dumps(content).replace("<", "\\u003c"),
        "@SHEET": sheet([paths[index] for index in shown], read),
    }
    return re.sub("|".join(parts), lambda found: parts[found[0]], page)  # at once: "@DATA" may be a file's name


def coordinates(embeddings: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """(f[N,2], how)."""
    if not 3 < len(embeddings) <= MAX_TSNE:
        return PCA(2, random_state=seed).fit_transform(embeddings), "PCA"
    reduce = TSNE(2, metric="cosine", init="random", perplexity=min(20, (len(embeddings) - 1) / 3), random_state=seed)
    return reduce.fit_transform(embeddings), "t-SNE"


def sample(count: int, most: int, seed: int) -> np.ndarray:
    """`most` of 0..count-1 without repetition, ascending; all where they are fewer."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def sheet(paths: list[str], read: pictures.Reader) -> str:
    """All photographs in one JPEG, row by row, as the text of a data: address."""
    rows = -(-len(paths) // _COLUMNS)
    image = PIL.Image.new("RGB", (_COLUMNS * SIDE, rows * SIDE), (255, 255, 255))
    for index, path in enumerate(paths):
        small = pictures.thumbnail(path, SIDE, read)
        left, top = index % _COLUMNS * SIDE + (SIDE - small.width) // 2, index // _COLUMNS * SIDE
        image.paste(small, (left, top + (SIDE - small.height) // 2))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=72)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _spread(values: np.ndarray) -> list[float]:
    """To 0..1."""
    low, high = values.min(), values.max()
    return np.round((values - low) / (high - low if high > low else 1), 4).tolist()
