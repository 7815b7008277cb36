"""Are these embeddings fit to be scored? Collapse, values that are not finite, spread, and hubs."""

from typing import NamedTuple

import numpy as np

from . import retrieval
from .neighbors import nearest

# Unit vectors that vary less than this in every dimension differ by rounding.
_COLLAPSED = 1e-5


def health(embeddings, labels=None, *, k: int = 10, seed: int = 0, sample: int = 16_384) -> dict:
    """Says what one should know before believing any score of these embeddings.

    Args:
        embeddings: f[N,D], of any length.
        labels: int[N]; they add the alignment.
        k: neighbours of a row in the hubness.
        seed: of the sample.
        sample: of more rows than this, as many are drawn for uniformity and hubness, which look at all pairs.

    Returns:
        "status": "ok", "collapsed" or "not finite"; of the latter two nothing is scored, and the counts ("rows",
        "rows_with_nan", "rows_with_inf", "zero_rows") are all there is. Of the L2-normalised rows: "mean_cosine" of
        all pairs; "std_mean" and "std_min" over dimensions, times sqrt(D), 1 for uniform vectors; "effective_rank";
        "uniformity"; "alignment"; "hubness"; and "rows_sampled".

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import health
        >>> health.health(np.eye(4))["effective_rank"]
        4.0
        >>> health.health(np.ones((4, 2)))["status"]
        'collapsed'
    """
    rows = np.asarray(embeddings, np.float32)
    report = {"rows": len(rows), "rows_with_nan": int(np.isnan(rows).any(axis=1).sum()),
              "rows_with_inf": int(np.isinf(rows).any(axis=1).sum()), "zero_rows": int((rows == 0).all(axis=1).sum())}
    if report["rows_with_nan"] or report["rows_with_inf"]:
        return {"status": "not finite"} | report
    unit = retrieval.normalized(rows)
    spread = unit.std(axis=0, dtype=np.float64) * np.sqrt(unit.shape[1])
    if len(rows) < 2 or spread.max() < _COLLAPSED:
        return {"status": "collapsed"} | report
    chosen = np.sort(np.random.default_rng(seed).permutation(len(unit))[:sample])
    report |= {"mean_cosine": mean_cosine(unit), "std_mean": float(spread.mean()), "std_min": float(spread.min()),
               "effective_rank": effective_rank(unit), "uniformity": uniformity(unit[chosen]),
               "hubness": hubs(unit[chosen], min(k, len(chosen) - 1)).hubness, "rows_sampled": len(chosen)}
    return {"status": "ok"} | report | ({} if labels is None else {"alignment": alignment(unit, labels)})


def mean_cosine(unit) -> float:
    """Averages the cosine over all pairs of different rows.

    Args:
        unit: f[N,D], L2-normalised.

    Returns:
        The mean, -1..1.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import health
        >>> health.mean_cosine(np.eye(3))
        0.0
    """
    total = np.asarray(unit, np.float64).sum(axis=0)
    own = np.square(unit, dtype=np.float64).sum()
    return float((total @ total - own) / (len(unit) * (len(unit) - 1)))


def effective_rank(embeddings) -> float:
    """Gives exp of the entropy of the singular values' shares, without centring.

    Args:
        embeddings: f[N,D].

    Returns:
        The rank, 1..min(N,D); higher uses more dimensions.

    References:
        Roy, Vetterli: The effective rank: A measure of effective dimensionality, 2007.
        Garrido, Balestriero, Najman, LeCun: RankMe: Assessing the downstream performance of pretrained
        self-supervised representations by their rank, 2023, arXiv:2210.02885.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import health
        >>> round(health.effective_rank(np.eye(4)), 6)
        4.0
    """
    rows = np.asarray(embeddings, np.float64)
    values = np.linalg.svd(rows, compute_uv=False) if len(rows) <= rows.shape[1] else np.sqrt(
        np.maximum(np.linalg.eigvalsh(rows.T @ rows), 0))
    share = values / values.sum()
    share = share[share > 1e-12]
    return float(np.exp(-(share * np.log(share)).sum()))


def uniformity(unit, *, t: float = 2.0) -> float:
    """Gives the log of the mean over pairs i < j of exp(-t |x_i - x_j|^2).

    Args:
        unit: f[N,D], L2-normalised.
        t: the sharpness.

    Returns:
        A number of at most 0; lower is more uniform.

    References:
        Wang, Isola: Understanding Contrastive Representation Learning through Alignment and Uniformity on the
        Hypersphere, 2020, arXiv:2005.10242.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import health
        >>> round(health.uniformity(np.eye(3)), 5)
        -4.0
    """
    unit, total = np.asarray(unit, np.float32), 0.0
    for start in range(0, len(unit), 1024):
        part = unit[start:start + 1024]
        total += np.exp(-t * np.maximum(2 - 2 * (part @ unit.T), 0), dtype=np.float64).sum()
    return float(np.log((total - len(unit)) / (len(unit) * (len(unit) - 1))))


def alignment(unit, labels) -> float:
    """Averages the squared distance (alpha = 2) over all pairs of one class.

    Args:
        unit: f[N,D], L2-normalised.
        labels: int[N].

    Returns:
        The mean, 0..4, lower is tighter; NaN where no class has two rows.

    References:
        Wang, Isola: Understanding Contrastive Representation Learning through Alignment and Uniformity on the
        Hypersphere, 2020, arXiv:2005.10242.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import health
        >>> health.alignment(np.eye(2)[[0, 1, 1, 1]], np.array([0, 0, 1, 1]))
        1.0
    """
    unit = np.asarray(unit, np.float64)
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), unit.shape[1]))
    np.add.at(sums, inverse, unit)
    own = np.bincount(inverse, weights=(unit ** 2).sum(axis=1))
    pairs = (counts * (counts - 1) // 2).sum()
    return float((counts * own - (sums ** 2).sum(axis=1)).sum() / pairs) if pairs else float("nan")


class Hubs(NamedTuple):
    """How often each row is among the k nearest of another; the largest are the hubs."""

    occurrences: np.ndarray     # i[N]
    strangers: np.ndarray       # i[N], those among the k nearest of a row of another label
    hubness: float              # skewness of `occurrences`; 0 where each row occurs as often


def hubs(unit, k: int = 10, labels=None) -> Hubs:
    """Counts how often each row is among the k nearest of another, by cosine.

    Args:
        unit: f[N,D], L2-normalised.
        k: neighbours of each row, 1..N-1.
        labels: int[N]; without them every row is a stranger to every other.

    Returns:
        The counts and their skewness.

    References:
        Radovanović, Nanopoulos, Ivanović: Hubs in Space: Popular Nearest Neighbors in High-Dimensional Data, 2010.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import health
        >>> found = health.hubs(np.array([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]), 1, labels=np.array([0, 0, 1]))
        >>> found.occurrences.tolist(), found.strangers.tolist()
        ([0, 2, 1], [0, 1, 1])
    """
    count = len(unit)
    labels = np.arange(count) if labels is None else np.asarray(labels)
    found, _ = nearest.Gallery(unit).top(unit, k, np.arange(count))
    occurrences = np.bincount(found.ravel(), minlength=count)
    strangers = np.bincount(found[labels[found] != labels[:, None]], minlength=count)
    deviation, spread = occurrences - occurrences.mean(), occurrences.std()
    return Hubs(occurrences, strangers, float((deviation ** 3).mean() / spread ** 3) if spread > 0 else 0.0)
