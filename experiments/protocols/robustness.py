"""What is left of retrieval where the pictures that ask are worse than those that are searched."""

from collections.abc import Callable

import numpy as np

from geodesic import datasets
from geodesic.datasets import corruptions, transforms
from geodesic.errors import UserError
from geodesic.experiments.trained.run import Run
from geodesic.metrics import retrieval

# Pictures that are looked at: whole classes, drawn until there are so many.
MOST = 2000
# How often they go through the network: clean, and of each kind at each strength.
PASSES = 1 + len(corruptions.AMOUNTS) * len(corruptions.STRENGTHS)
_BATCH = 64


def measure(run: Run, test: datasets.Source, readable: np.ndarray, *, seed: int = 0,
            progress: Callable[[int], None] = lambda passes: None) -> dict:
    """Searches clean pictures by corrupted ones, each kind at each strength (`datasets.corruptions`).

    Args:
        run: the model.
        test: the pictures.
        readable: places of those that can be read.
        seed: of the classes that are drawn where there are more pictures than MOST, and of the corruptions.
        progress: told of each of PASSES.

    Returns:
        {"what": how it was made, "scores": map@r by "clean", "jpeg 1" .. "rotation 5" and "mean", which is over kinds
        and strengths}. A picture is never its own neighbour, neither clean nor corrupted.

    Raises UserError where no class has two pictures.
    """
    places, rng = chosen(test.labels[readable], seed), np.random.default_rng(seed)
    places, labels = readable[places], test.labels[readable[places]]
    if not len(labels) or np.unique(labels, return_counts=True)[1].max() < 2:
        raise UserError("robustness needs a class of two pictures or more")
    views = np.stack([transforms.eval_view(test[int(place)], run.config.input) for place in places])
    batch = _BATCH * run.mesh.size

    def embed(pictures: np.ndarray) -> np.ndarray:
        rows = retrieval.normalized(run.embed_views(pictures, batch))
        progress(1)
        return rows

    clean, own = embed(views), np.arange(len(views))
    def map_at_r(queries: np.ndarray) -> float:
        return float(np.nanmean(retrieval.rank(queries, labels, clean, labels, exclude=own[:, None]).map_at_r))

    scores = {f"{kind} {strength}": map_at_r(embed(np.stack([
        corruptions.apply(kind, strength, view, rng) for view in views])))
        for kind in corruptions.AMOUNTS for strength in corruptions.STRENGTHS}
    return {"what": f"map@r of {len(views):,} pictures of {len(np.unique(labels)):,} classes (seed {seed}) which, "
                    f"corrupted, search the clean ones; strengths of ImageNet-C, and rotations by "
                    f"{', '.join(f'{degrees:g}' for degrees in corruptions.AMOUNTS['rotation'])} degrees.",
            "scores": {"clean": map_at_r(clean), **scores, "mean": float(np.mean([*scores.values()]))}}


def chosen(labels: np.ndarray, seed: int) -> np.ndarray:
    """Places of all, or of whole classes in random order up to MOST pictures, of the first class in any case."""
    if len(labels) <= MOST:
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(classes))
    fitting = max(int((np.cumsum(counts[order]) <= MOST).sum()), 1)
    return np.flatnonzero(np.isin(labels, classes[order[:fitting]]))
