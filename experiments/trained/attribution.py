"""Which places of two pictures make their cosine, and which places of one make the score of a class.

Where the embedding is a sum over the places of a map (`embedders.contributions`), so is its product with any vector:
the maps are exact, and sum to the cosine, or to the score. Of a head that is no such sum (a recurrent one, attention)
they are gradient times value at the map that it is given, and `error` says what their sum lacks.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from geodesic.datasets import transforms
from geodesic.embedders import neck, places
from geodesic.errors import UserError
from geodesic.experiments.trained import embedding, inputs


class Pair(NamedTuple):
    """Two pictures, and what their cosine is made of.

    cosine: of the run. maps: f32[h,w] of each picture; a place's number is what it adds to the cosine. gradients:
    f32[h,w] of each, by Grad-CAM of the cosine, which sums to nothing in particular. links: f32[h,w,h,w], what each
    place of the first adds together with each of the second; None of a head. channels: f32[D], what each number of the
    embeddings adds. exact: whether the maps are a sum by construction; error: how far their sums are from the cosine,
    the larger of both. views: u8[S,S,3], the pictures as the network sees them.
    """

    cosine: float
    maps: tuple[np.ndarray, np.ndarray]
    gradients: tuple[np.ndarray, np.ndarray]
    links: np.ndarray | None
    channels: np.ndarray
    exact: bool
    error: float
    views: tuple[np.ndarray, np.ndarray]


class Scored(NamedTuple):
    """One picture and a class. kind: what `score` is, "logit" or, of an angular margin, "cosine to its prototype".

    map: f32[h,w], what each place adds to it. gradient: f32[h,w], Grad-CAM. exact, error, view: as of Pair.
    """

    name: str
    kind: str
    score: float
    map: np.ndarray
    gradient: np.ndarray
    exact: bool
    error: float
    view: np.ndarray


def pair(run, one, other) -> Pair:
    """What the cosine of two images is made of.

    Args:
      run: a loaded run (`geodesic.load`).
      one, other: as of `run.embed`, an image each.

    Raises UserError for an image that cannot be read, an embedding of length 0, and a layer that is no map.
    """
    return of_views(run, _views(run, [one, other]))


def of_views(run, views: np.ndarray) -> Pair:
    """As `pair`, of u8[2,S,S,3], two images as the network sees them (`datasets.transforms.eval_view`)."""
    parts = _Parts(run, views)
    lengths = np.linalg.norm(parts.embeddings, axis=1, keepdims=True)
    if not lengths.all():
        raise UserError(f"the embedding of image {int(np.argmin(lengths)) + 1} is zero: it has no cosine")
    unit = parts.embeddings / lengths
    cosine = float(unit[0] @ unit[1])
    maps = parts.toward(unit[::-1] / lengths)
    links = None
    if parts.exact:
        first, second = (parts.of(place) / lengths[place] for place in (0, 1))
        links = np.einsum("hwd,ijd->hwij", first, second, optimize=True)
    # The gradient of the cosine: along the other's direction, at right angles to one's own.
    slopes = (unit[::-1] - cosine * unit) / lengths
    return Pair(cosine, tuple(maps), tuple(parts.grad_cam(slopes)), links, unit[0] * unit[1], parts.exact,
                float(abs(maps.sum(axis=(1, 2), dtype=np.float64) - cosine).max()), tuple(views))


def scored(run, image, name: str = "") -> Scored:
    """What the score of a class is made of: of the likeliest class, or of the one that is named.

    Raises UserError where the run has no classifier, or no such class, and as `pair` does.
    """
    names, classifier = run.class_names, run.classifier
    check_class(names, name)
    views = _views(run, [image])
    parts = _Parts(run, views, layer="")
    scores = classifier.scores(parts.embeddings)[0]
    place = names.index(name) if name else int(scores.argmax())
    score_of = lambda row: classifier.loss.scores(classifier.params, row[None])[0, place]
    slope = np.asarray(jax.grad(score_of)(jnp.asarray(parts.embeddings[0])))
    score, target, kind = float(scores[place]), slope, "logit"
    if classifier.loss.probabilities is None and not classifier.loss.multi_hot:
        kind = "cosine to its prototype"
        # A cosine does not change along the embedding: its prototype, over the embedding's length, has both.
        target = slope + score * parts.embeddings[0] / (parts.embeddings[0] @ parts.embeddings[0])
    constant = score - float(parts.embeddings[0] @ target)  # the bias, which is no place's
    map_ = parts.toward(target[None])[0]
    return Scored(names[place], kind, score, map_ + constant / map_.size, parts.grad_cam(slope[None])[0], parts.exact,
                  abs(float(map_.sum(dtype=np.float64)) + constant - score), views[0])


def check_class(names: list[str], name: str) -> None:
    """Raises UserError for a name that is none of these; "" is no name."""
    if name and name not in names:
        raise UserError(f"no class {name!r}; the {len(names)} classes are {', '.join(names[:20])}"
                        + (" ..." if len(names) > 20 else ""))


def _views(run, images: list) -> np.ndarray:
    """u8[N,S,S,3], as the network sees them."""
    source = inputs.as_source(images)
    return np.stack([transforms.eval_view(source[place], run.config.input) for place in range(len(source))])


class _Parts:
    """Images gone through the network once: their embeddings f32[N,D], and how places count toward any vector."""

    def __init__(self, run, views: np.ndarray, layer: str | None = None):
        self._run, self._layer = run, run.config.evaluation.layer if layer is None else layer
        if not self._layer:
            run.check_embeds()
        self.exact = bool(self._layer) or run.embedder.head is None
        images = embedding.normalize(jnp.asarray(views), run.config.input)
        found = [self._through(images)]
        if run.config.evaluation.average_horizontal_flips:
            found.append(self._through(images[:, :, ::-1]))
        self._views = found
        self.embeddings = np.mean([np.asarray(one["embedding"], np.float64) for one in found], axis=0)

    def of(self, place: int) -> np.ndarray:
        """f64[h,w,D]: what each place of an image adds to its embedding."""
        return _mean([np.asarray(one["parts"][place:place + 1], np.float64) for one in self._views])[0]

    def toward(self, targets: np.ndarray) -> np.ndarray:
        """f64[N,h,w]: what each place adds to <embedding, target>, targets f[N,D]."""
        if self.exact:
            return _mean([np.einsum("nhwd,nd->nhw", np.asarray(one["parts"], np.float64), targets)
                          for one in self._views])
        maps = []
        for one in self._views:
            slopes = one["gradient"](targets)
            constant = np.asarray(one["constant"] @ targets.T).diagonal()
            name = _finest(slopes)
            map_ = np.asarray((slopes[name] * one["given"][name]).sum(axis=-1), np.float64)
            maps.append(map_ + constant[:, None, None] / map_[0].size)
        return _mean(maps)

    def grad_cam(self, targets: np.ndarray) -> np.ndarray:
        """f64[N,h,w]: Selvaraju et al.: Grad-CAM, 2016, arXiv:1610.02391, of <embedding, target> at the map."""
        maps = []
        for one in self._views:
            slopes = one["gradient"](targets)
            name = _finest(slopes)
            weights = slopes[name].mean(axis=(1, 2), keepdims=True)
            maps.append(np.maximum(np.asarray((weights * one["given"][name]).sum(axis=-1), np.float64), 0))
        return _mean(maps)

    def _through(self, images: jnp.ndarray) -> dict:
        embedder, variables, layer = self._run.embedder, self._run.variables, self._layer
        named = _features(embedder, variables, images)
        wanted = (layer,) if layer else (embedder.head and embedder.head_layers) or (embedder.layer,)
        if lacking := [name for name in wanted if name not in named or named[name].ndim != 4]:
            raise UserError(f"layer {lacking[0]!r} is no map, so no place of a picture has a part in it")
        given = {name: named[name].astype(jnp.float32) for name in wanted}
        after = self._after(variables)
        embeddings, back = jax.vjp(after, given)
        found = {"given": given, "embedding": embeddings,
                 "gradient": lambda targets: back(jnp.asarray(targets, embeddings.dtype))[0]}
        if self.exact:
            found["parts"] = places.of_features(embedder, variables, named, layer).parts
        else:
            found["constant"] = after(jax.tree.map(jnp.zeros_like, given))
        return found

    def _after(self, variables: dict):
        """From the maps that are pooled, name -> f32[B,h,w,C], to the embedding."""
        embedder = self._run.embedder
        below = lambda name: {kind: values[name] for kind, values in variables.items() if name in values}
        if self._layer:
            return lambda maps: maps[self._layer].mean(axis=(1, 2))
        if embedder.head is not None:
            return lambda maps: embedder.head.apply(below("head"), maps, False)
        module = neck.Neck(kind=embedder.neck, pooling=embedder.pooling, dropout=0.0, norm=embedder.norm(False),
                           embedding_size=embedder.embedding_size or None)
        return lambda maps: module.apply(below("neck"), maps[embedder.layer], False)[1]


@functools.partial(jax.jit, static_argnums=0)
def _features(embedder, variables: dict, images: jnp.ndarray) -> dict[str, jnp.ndarray]:
    """Compiled once for an embedder and a number of images: many pairs of a run wait for it once."""
    return embedder.apply(variables, images, train=False, method="features")


def _finest(maps: dict[str, jnp.ndarray]) -> str:
    """Of several maps the one that is shown; the error of the sum has the rest."""
    return max(maps, key=lambda name: maps[name].shape[1])


def _mean(maps: list[np.ndarray]) -> np.ndarray:
    """Of an image's map [N,h,w,...] and, where there is one, that of its mirror, which is turned back."""
    return (maps[0] if len(maps) == 1 else (maps[0] + maps[1][:, :, ::-1]) / 2)
