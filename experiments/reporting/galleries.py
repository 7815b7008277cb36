"""The photographs of a report: queries with their neighbours, hubs, and each class's score."""

import base64
import html
import io
from typing import NamedTuple

import numpy as np

from geodesic.experiments.reporting import pictures
from geodesic.metrics import health, retrieval

# Queries shown of each kind, neighbours of each, hubs, and classes at each end.
_QUERIES, _NEIGHBOURS, _HUBS, _CLASSES = 5, 9, 9, 20
# Near misses are looked for among so many queries: each takes its cosine to every image.
_MAX_RIVALS = 5000


class Tested(NamedTuple):
    """The test images of a run, as `evaluate` stored them."""

    embeddings: np.ndarray      # f32[N,D], L2-normalised
    labels: np.ndarray          # i[N]
    paths: list[str]
    class_names: list[str]
    read: pictures.Reader


class Rivals(NamedTuple):
    """For some queries, by how much they are decided, and the nearest image of another class."""

    queries: np.ndarray         # i[Q]
    margins: np.ndarray         # f[Q], cosine of the nearest of its class minus that of `strangers`: below 0 is a miss
    strangers: np.ndarray       # i[Q]


def rivals(tested: Tested, precision: np.ndarray, seed: int) -> Rivals:
    """Of the images with a match; of 5,000 of them where there are more. precision: see `neighbours`."""
    queries = np.flatnonzero(np.isfinite(precision))
    if len(queries) > _MAX_RIVALS:
        queries = np.sort(np.random.default_rng(seed).choice(queries, _MAX_RIVALS, replace=False))
    margins, strangers = [], []
    for start in range(0, len(queries), 512):
        rows = queries[start:start + 512]
        cosines = tested.embeddings[rows] @ tested.embeddings.T
        cosines[np.arange(len(rows)), rows] = -np.inf
        same = tested.labels[rows][:, None] == tested.labels
        other = np.where(same, -np.inf, cosines)
        margins.append(np.where(same, cosines, -np.inf).max(axis=1) - other.max(axis=1))
        strangers.append(other.argmax(axis=1))
    return Rivals(queries, np.concatenate(margins), np.concatenate(strangers))


def neighbours(tested: Tested, precision: np.ndarray, decided: Rivals, seed: int) -> str:
    """Queries that do best and worst, some drawn at random, and those that were decided by least.

    precision: f[N], the term of map@r of each image; NaN where it has no match.
    """
    able = np.flatnonzero(np.isfinite(precision))
    order = able[np.argsort(-precision[able], kind="stable")]
    margins = dict(zip(decided.queries.tolist(), decided.margins.tolist(), strict=True))
    near = decided.queries[np.argsort(np.abs(decided.margins), kind="stable")]
    kinds = (("Best queries", one_of_each(tested, order), ""),
             ("Worst queries", one_of_each(tested, order[::-1]), ""),
             ("Random queries", np.random.default_rng(seed).permutation(able)[:_QUERIES], ""),
             ("Near misses and narrow hits", one_of_each(tested, near),
              "The nearest image of the class and the nearest of another are least apart."))
    parts = []
    for title, queries, what in kinds:
        parts.append(f"<h3>{title}</h3>" + (f'<p class="protocol">{what}</p>' if what else ""))
        captions = [f"class {tested.class_names[tested.labels[query]]}, map@r {precision[query]:.2f}"
                    + (f", margin {margins[query]:+.3f}" if what else "") for query in queries]
        parts += _rows(tested, queries, captions)
    return "\n".join(parts)


def one_of_each(tested: Tested, ranked: np.ndarray) -> np.ndarray:
    """The first queries of different classes: five photographs of the easiest person would show nothing new."""
    _, first = np.unique(tested.labels[ranked], return_index=True)
    return ranked[np.sort(first)][:_QUERIES]


def _rows(tested: Tested, queries: np.ndarray, captions: list[str]) -> list[str]:
    if not len(queries):
        return ["<p>none</p>"]
    k = min(_NEIGHBOURS, len(tested.labels) - 1)
    found, cosines = retrieval.neighbors(tested.embeddings[queries], tested.embeddings, k, exclude=queries)
    rows = []
    for query, caption, row, scores in zip(queries, captions, found, cosines, strict=True):
        cells = [cell(tested, query, "query", caption)]
        cells += [cell(tested, index, "hit" if tested.labels[index] == tested.labels[query] else "miss",
                        f"{tested.class_names[tested.labels[index]]} · {score:.2f}")
                  for index, score in zip(row, scores, strict=True)]
        rows.append(f'<div class="row">{"".join(cells)}</div>')
    return rows


def hubs(tested: Tested) -> str:
    """The images that turn up most often among others' ten nearest.

    Radovanović, Nanopoulos, Ivanović: Hubs in Space, 2010.
    """
    k = min(10, len(tested.labels) - 1)
    occurrences, strangers, skewness = health.hubs(tested.embeddings, k, tested.labels)
    top = np.argsort(-occurrences, kind="stable")[:_HUBS]
    cells = [cell(tested, index, "query",
                   f"{tested.class_names[tested.labels[index]]}, in {occurrences[index]} lists, {strangers[index]} of "
                   f"other classes") for index in top]
    return (f'<p class="protocol">Images that are among the {k} nearest of most others; on average an image is in {k} '
            f"lists. Skewness {skewness:.2f}; {np.count_nonzero(occurrences == 0):,} of {len(occurrences):,} images "
            f'are in none.</p><div class="row">{"".join(cells)}</div>')


def classes(tested: Tested, precision: np.ndarray, decided: Rivals) -> str:
    """A bar for each class: its mean map@r, and the class whose images come nearest to most of its own."""
    able = np.isfinite(precision)
    rival = _nearest_class(tested, decided)
    means = {int(label): float(precision[able & (tested.labels == label)].mean())
             for label in np.unique(tested.labels[able])}
    order, note = sorted(means, key=means.get, reverse=True), ""
    if len(order) > 2 * _CLASSES:
        note = (f"The {_CLASSES} best and the {_CLASSES} worst; {len(order) - 2 * _CLASSES:,} between them are left "
                f"out.")
        order = order[:_CLASSES] + order[-_CLASSES:]
    rows = "".join(
        f"<tr><th>{html.escape(tested.class_names[label])}</th><td>{np.count_nonzero(tested.labels == label)}</td>"
        f'<td>{means[label]:.3f}</td><td class="bar"><i style="width:{100 * means[label]:.1f}%"></i></td>'
        f"<td>{html.escape(rival.get(label, ''))}</td></tr>" for label in order)
    return (f'<p class="protocol">{note}</p><div class="scroll"><table><tr><th>class</th><th>images</th><th>map@r</th>'
            f"<th></th><th>nearest other class, of most images</th></tr>{rows}</table></div>")


def _nearest_class(tested: Tested, decided: Rivals) -> dict[int, str]:
    own, nearest = tested.labels[decided.queries], tested.labels[decided.strangers]
    result = {}
    for label in np.unique(own):
        others, counts = np.unique(nearest[own == label], return_counts=True)
        best = int(np.argmax(counts))
        result[int(label)] = f"{tested.class_names[others[best]]} ({counts[best]})"
    return result


def cell(tested: Tested, index: int, kind: str, caption: str) -> str:
    """The figure of one image. kind: "query", "hit" or "miss", the colour of its frame."""
    path, buffer = tested.paths[index], io.BytesIO()
    pictures.thumbnail(path, 112, tested.read).save(buffer, "JPEG", quality=82)
    return (f'<figure class="{kind}" title="{html.escape(path)}">'
            f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>")
