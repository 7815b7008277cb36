"""The region of a picture that made a neuron fire: the places where its map is high."""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from geodesic import datasets, embedders
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.trained import embedding
from geodesic.experiments.trained.run import Run


def maps(run: Run, source, layer: str, kept: np.ndarray, places: np.ndarray, rows: np.ndarray
         ) -> Iterator[tuple[int, np.ndarray]] | None:
    """(row, f32[h,w,C], what each place of its picture adds to the neurons) of these rows i[R], the pictures at
    places[row] of the source; None where the layer has no map.

    kept: the features of all images, maps or not. Maps that they are not are computed, of these pictures alone.
    """
    if kept.ndim == 4:
        return ((row, kept[places[row]]) for row in rows)
    config, embedder = run.config, run.embedder
    flips = config.evaluation.average_horizontal_flips
    if len(run.layers[layer]) == 3:
        step = embedding.make_embed_step(embedder, run.mesh, config.input, layer=layer, pooled=False,
                                         average_horizontal_flips=flips)
    elif layer == "embedding" and embedder.head is None and len(run.layers.get(embedder.layer, ())) == 3:
        parts = lambda variables, images: embedders.contributions(embedder, variables, images).parts

        @jax.jit
        def step(variables, images):
            images = embedding.normalize(images, config.input)
            one = parts(variables, images)
            return (one + parts(variables, images[:, :, ::-1])[:, :, ::-1]) / 2 if flips else one
    else:
        return None
    return _computed(run, step, datasets.Records(source, places[rows]), rows)


def of(maps, strongest: np.ndarray, advance) -> np.ndarray | None:
    """bool[C,S,h,w]: where the map of each of the pictures strongest i[C,S] is at least half its maximum; nowhere, if
    that is not above 0. None without maps.
    """
    found = None
    for row, map_ in maps or ():
        if found is None:
            found = np.zeros((*strongest.shape, *map_.shape[:2]), bool)
        channel, rank = np.nonzero(strongest == row)
        own = np.moveaxis(map_[:, :, channel], 2, 0)
        most = own.max(axis=(1, 2), keepdims=True)
        found[channel, rank] = (own >= most / 2) & (most > 0)
        advance(1)
    return found


def as_text(region: np.ndarray) -> str:
    """A region bool[h,w], row by row, a hex digit for four places, as neurons.json and the page have it."""
    return np.packbits(region.reshape(-1)).tobytes().hex()


def _computed(run: Run, step: Callable, source, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    size = embedding.even_batch(run.config.evaluation.batch_size, len(source), run.mesh.size)
    for found, maps, _ in embedding.batches_of(step, meshes.replicate(run.mesh, run.variables), source, run.mesh,
                                               input=run.config.input, loader=run.config.run, batch_size=size):
        yield from zip(rows[found], maps, strict=True)
