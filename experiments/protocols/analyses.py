"""What else can be said of embeddings: `geodesic evaluate --also=health,clustering`.

Each analysis takes embeddings f[N,D], labels i[N] and a seed, and gives {"what": how it was made, in one sentence,
"scores": name -> float}. It raises UserError where the data cannot show what it looks for.
"""

import numpy as np

from geodesic.errors import UserError
from geodesic.metrics import classification, clustering, confidence, identification, retrieval, subcenters
from geodesic.metrics import health as diagnosis

# Votes of a nearest-neighbour classifier, the last rank of a CMC curve, and false positive identification rates.
_VOTES, _DEPTH, _FPIR = (1, 5, 20), 20, (0.1, 0.01)


def run(names, embeddings, labels, *, seed: int = 0) -> dict[str, dict]:
    """Makes the named analyses.

    Args:
        names: of `ANALYSES`.
        embeddings: f[N,D], of any length.
        labels: i[N], their classes.
        seed: of what is drawn.

    Returns:
        For each name {"what", "scores"}.

    Raises:
        UserError: a name is unknown, or the data cannot show what an analysis looks for.
    """
    unknown = [name for name in names if name not in ANALYSES]
    if unknown:
        raise UserError(f"no analysis {unknown[0]!r}; known: {', '.join(ANALYSES)}")
    embeddings, labels = np.asarray(embeddings, np.float32), np.asarray(labels)
    return {name: ANALYSES[name](embeddings, labels, seed) for name in names}


def health(embeddings: np.ndarray, labels: np.ndarray, seed: int) -> dict:
    """Says what one should know before believing any other score; embeddings that nothing can score are told so."""
    found = diagnosis.health(embeddings, labels, seed=seed)
    status = {"ok": "fit to be scored", "collapsed": "collapsed to one point", "not finite": "not all finite"}
    what = f"The embeddings are {status[found.pop('status')]}; all numbers but the counts are of L2-normalised rows."
    return _result(what, {name: value for name, value in found.items() if np.isfinite(value)})


def clusters(embeddings: np.ndarray, labels: np.ndarray, seed: int) -> dict:
    """Says how well k-means, which knows the number of classes, finds the classes."""
    unit = _classes(embeddings, labels, "clustering")
    count = len(np.unique(labels))
    return _result(f"k-means made {count} clusters, as many as there are classes, from centres drawn by seed {seed}.",
                   clustering.clustering_scores(unit, labels, seed=seed))


def identify(embeddings: np.ndarray, labels: np.ndarray, seed: int) -> dict:
    """Identifies half of each class's images among the other half: in the closed set, and in an open one."""
    unit, rng = _classes(embeddings, labels, "identification"), np.random.default_rng(seed)
    enrolled, probes = halves(labels, rng)
    closed = identification.closed_set(unit[probes], labels[probes], unit[enrolled], labels[enrolled])
    present = rng.permutation(np.unique(labels[enrolled]))
    kept = enrolled[np.isin(labels[enrolled], present[:(len(present) + 1) // 2])]
    opened = identification.open_set(unit[probes], labels[probes], unit[kept], labels[kept], fpir=_FPIR)
    del closed["probes_without_mate"]  # there is none
    return _result(f"Half of each class's images, drawn by seed {seed}, are enrolled and the others ask; for TPIR at "
                   f"an FPIR only half of the classes are enrolled; classes of one image are left out.",
                   closed | {f"tpir@fpir={rate:g}": found.tpir for rate, found in opened.items()})


def knn(embeddings: np.ndarray, labels: np.ndarray, seed: int) -> dict:
    """Classifies half of each class's images by the votes of their nearest neighbours in the other half."""
    unit = _classes(embeddings, labels, "knn")
    known, asked = halves(labels, np.random.default_rng(seed))
    counts = [k for k in _VOTES if k <= len(known)]
    answers = classification.knn(unit[known], labels[known], unit[asked], counts, vote="softmax")
    return _result(f"Half of each class's images, drawn by seed {seed}, vote on the others by exp(cosine / 0.07); "
                   f"classes of one image are left out.",
                   {f"knn_accuracy@k={k}": (found == labels[asked]).mean()
                    for k, found in zip(counts, answers, strict=True)})


def linear_probe(embeddings: np.ndarray, labels: np.ndarray, seed: int) -> dict:
    """Classifies half of each class's images by a logistic regression of the other half: accuracy and calibration."""
    unit = _classes(embeddings, labels, "linear_probe")
    known, asked = halves(labels, np.random.default_rng(seed))
    probabilities, classes = classification.linear_probe(unit[known], labels[known], unit[asked])
    places = np.searchsorted(classes, labels[asked])
    scores = {"probe_accuracy": classification.top_k_accuracy(probabilities, places, 1),
              "calibration_error": confidence.calibration_error(probabilities, places)}
    if len(classes) > 5:
        scores["probe_top5_accuracy"] = classification.top_k_accuracy(probabilities, places, 5)
    return _result(f"A logistic regression of half of each class's images, drawn by seed {seed}, classifies the "
                   f"others; classes of one image are left out.", scores)


def cmc(embeddings: np.ndarray, labels: np.ndarray, seed: int) -> dict:
    """Draws the cumulative match characteristic of every image against all the others."""
    del seed  # nothing is drawn
    unit = _classes(embeddings, labels, "cmc")
    curve = retrieval.cmc(retrieval.rank_self(unit, labels), min(_DEPTH, len(labels) - 1))
    return _result("Every image queries all the others by cosine; a score is the share with a match within that rank.",
                   {f"cmc@{rank}": share for rank, share in enumerate(curve, start=1)})


ANALYSES = {
    "health": health,
    "clustering": clusters,
    "identification": identify,
    "knn": knn,
    "linear_probe": linear_probe,
    "cmc": cmc,
}


def outliers(embeddings, labels, prototypes) -> np.ndarray:
    """Finds images of the training classes that lie far from the dominant sub-centre of their class.

    Args:
        embeddings: f[N,D] of training images, of any length.
        labels: i[N], their classes.
        prototypes: f[C,k,D], the trained loss's; None where it has none.

    Returns:
        i[M], the places of the outliers.

    Raises:
        UserError: the loss has no sub-centres.
    """
    if np.ndim(prototypes) != 3:
        raise UserError("outliers are told by sub-centres, and this loss has none: train with loss subcenter_arcface")
    return np.flatnonzero(subcenters.outliers(embeddings, labels, prototypes)[0])


def halves(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Splits the images of each class in two, drawn by `rng`; of an odd number the first half has one more.

    Returns the places i[A] and i[B], ascending. Classes of one image are in neither.
    """
    first, second = [], []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) > 1:
            first.append(rows[:(len(rows) + 1) // 2])
            second.append(rows[(len(rows) + 1) // 2:])
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))


def _classes(embeddings: np.ndarray, labels: np.ndarray, name: str) -> np.ndarray:
    """Normalises the embeddings. Raises UserError unless two classes have two images each, and the rows differ."""
    _, counts = np.unique(labels, return_counts=True)
    if (counts > 1).sum() < 2:
        raise UserError(f"{name} needs two classes of two images or more; got {len(labels)} images of {len(counts)} "
                        f"classes, {(counts > 1).sum()} of them with two")
    retrieval.check_spread(embeddings)
    return retrieval.normalized(embeddings)


def _result(what: str, scores: dict) -> dict:
    return {"what": what, "scores": {name: float(value) for name, value in scores.items()}}
