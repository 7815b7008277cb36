"""The section of a report on why pairs match: what each place of both pictures adds to their cosine."""

import base64
import html
import io
from collections.abc import Callable

import matplotlib
import numpy as np
import PIL.Image
import PIL.ImageDraw

from geodesic.errors import UserError
from geodesic.experiments.reporting import explained, galleries
from geodesic.experiments.trained import attribution
from geodesic.experiments.trained.run import Run

# Pairs of each kind, pixels of a picture's side, and places that are joined.
_PAIRS, _SIDE, _LINKS = 2, 148, 4
_OFF = 0.02  # of cosines that were computed in batches of other sizes, in bfloat16 perhaps


def render(run: Run, tested: galleries.Tested, precision: np.ndarray, decided: galleries.Rivals,
           view: Callable[[int], np.ndarray]) -> str:
    """HTML: the best and the worst queries, each with its nearest image, and the near misses with the nearest of their
    class and of another.

    run: the weights that were evaluated. precision: see `galleries.neighbours`. view: from an image's row in `tested`
    to u8[S,S,3], as the network sees it. A pair of which an image cannot be read is left out.
    Raises UserError where there is no map, and where `tested` has other embeddings than the run gives.
    """
    parts, told = [], ""
    for title, pairs in _chosen(tested, precision, decided).items():
        rows = []
        for one, other in pairs:
            try:
                views = np.stack([view(one), view(other)])
            except (OSError, ValueError):  # the file has gone, or is damaged
                continue
            found = attribution.of_views(run, views)
            if abs(found.cosine - float(tested.embeddings[one] @ tested.embeddings[other])) > _OFF:
                raise UserError("the evaluation is of other embeddings than these weights and this configuration give")
            told = told or _how(found)
            rows.append(_row(tested, one, other, found))
        parts += [f'<h3>{title}</h3><div class="pairs">{"".join(rows)}</div>'] if rows else []
    return f'<p class="protocol">{told}</p>' + "\n".join(parts) if told else ""


def _chosen(tested: galleries.Tested, precision: np.ndarray, decided: galleries.Rivals) -> dict[str, list]:
    """Title -> pairs of rows of `tested`."""
    able = np.flatnonzero(np.isfinite(precision))
    order = able[np.argsort(-precision[able], kind="stable")]
    near = decided.queries[np.argsort(np.abs(decided.margins), kind="stable")]
    best, worst, close = (galleries.one_of_each(tested, rows)[:_PAIRS] for rows in (order, order[::-1], near))
    nearest = lambda query, of: int(np.where(of, tested.embeddings @ tested.embeddings[query], -np.inf).argmax())
    others = np.arange(len(tested.labels))
    alike = lambda query: (tested.labels == tested.labels[query]) & (others != query)
    return {"Best queries and their nearest": [(query, nearest(query, others != query)) for query in best],
            "Worst queries and their nearest": [(query, nearest(query, others != query)) for query in worst],
            "Near misses and narrow hits: the nearest of the class, and of another": [
                (query, nearest(query, of)) for query in close
                for of in (alike(query), tested.labels != tested.labels[query])]}


def _how(found: attribution.Pair) -> str:
    joined = (f" Frames of one colour: the {_LINKS} pairs of places that add most together." if found.links is not None
              else "")
    if found.exact:
        return (f"What each place adds to the cosine, red for and blue against: computed, not estimated, so that the "
                f"map of each picture sums to the cosine.{joined}")
    return (f"Red for and blue against. The head is no sum over places: the maps are gradient times value, an "
            f"approximation, and each pair says by how much their sum is off.{joined}")


def _row(tested: galleries.Tested, one: int, other: int, found: attribution.Pair) -> str:
    same = tested.labels[one] == tested.labels[other]
    links = [] if found.links is None else explained.strongest_links(found.links, _LINKS)
    most = max(float(abs(map_).max()) for map_ in found.maps) or 1.0
    cells, off = [], "" if found.exact else f", off by {found.error:.2g}"
    for place, (row, map_) in enumerate(zip((one, other), found.maps, strict=True)):
        kind, name = ("hit" if same else "miss") if place else "query", tested.class_names[tested.labels[row]]
        frames = [link[2 * place:2 * place + 2] for link in links]
        pictures = [_framed(found.views[place], frames, map_.shape), _over(found.views[place], map_ / most)]
        captions = [f"{name}, cosine {found.cosine:.3f}" if place else name, f"sums to {map_.sum():.3f}{off}"]
        cells += [f'<figure class="map {kind}" title="{html.escape(tested.paths[row])}"><img alt="" '
                  f'src="{_jpeg(shown)}"><figcaption>{html.escape(caption)}</figcaption></figure>'
                  for shown, caption in zip(pictures, captions, strict=True)]
    return f'<div class="row">{"".join(cells)}</div>'


def _framed(view: np.ndarray, frames: list[tuple[int, int]], places: tuple[int, ...]) -> PIL.Image.Image:
    """The picture with frames around places (row, column), each of its own colour."""
    image = PIL.Image.fromarray(view).resize((_SIDE, _SIDE), PIL.Image.Resampling.LANCZOS)
    pen, (height, width) = PIL.ImageDraw.Draw(image), (_SIDE / places[0], _SIDE / places[1])
    for (row, column), color in zip(frames, explained.COLORS, strict=False):
        corner = (column * width, row * height)
        pen.rectangle((*corner, corner[0] + width - 1, corner[1] + height - 1), outline=color, width=3)
    return image


def _over(view: np.ndarray, map_: np.ndarray) -> PIL.Image.Image:
    """The map f[h,w], from -1 to 1, over the grey picture."""
    size = (_SIDE, _SIDE)
    colored = matplotlib.colormaps["RdBu_r"]((map_ + 1) / 2)[..., :3]
    shown = PIL.Image.fromarray((255 * colored).astype(np.uint8)).resize(size, PIL.Image.Resampling.BILINEAR)
    return PIL.Image.blend(PIL.Image.fromarray(view).convert("L").convert("RGB").resize(size), shown, 0.6)


def _jpeg(image: PIL.Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
