"""Are these embeddings fit to be scored? Collapse, values that are not finite, spread, and hubs."""

import numpy as np

from . import retrieval
from .neighbors import nearest

# Unit vectors that vary less than this in every dimension differ by rounding.
_COLLAPSED = 1e-5
# Rows beyond this many are sampled where all pairs are looked at.
_SAMPLE = 16_384


def health(embeddings, labels=None, *, k: int = 10, seed: int = 0) -> dict:
    """What to know before believing any score. embeddings f[N,D]; labels int[N] add the alignment.

    "status": "ok", "collapsed" or "not finite"; of the latter two nothing is scored and no other number but the counts
    is given. Of the L2-normalised rows: "mean_cosine" of all pairs; "std_mean" and "std_min" over dimensions, times
    sqrt(D), 1 for uniform vectors; "effective_rank"; "uniformity"; "alignment"; "hubness", the skewness of how often
    a row is among the k nearest of another (uniformity and hubness of 16,384 rows drawn by `seed`, if there are more).
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
    chosen = np.sort(np.random.default_rng(seed).permutation(len(unit))[:_SAMPLE])
    report |= {"mean_cosine": mean_cosine(unit), "std_mean": float(spread.mean()), "std_min": float(spread.min()),
               "effective_rank": effective_rank(unit), "uniformity": uniformity(unit[chosen]),
               "hubness": hubness(unit[chosen], min(k, len(chosen) - 1)), "rows_sampled": len(chosen)}
    return {"status": "ok"} | report | ({} if labels is None else {"alignment": alignment(unit, labels)})


def mean_cosine(unit) -> float:
    """Of the pairs of different rows. unit f[N,D], L2-normalised."""
    total = np.asarray(unit, np.float64).sum(axis=0)
    own = np.square(unit, dtype=np.float64).sum()
    return float((total @ total - own) / (len(unit) * (len(unit) - 1)))


def effective_rank(embeddings) -> float:
    """exp of the entropy of the singular values' shares. Roy, Vetterli: The effective rank, 2007; as RankMe (Garrido et
    al., 2023, arXiv:2210.02885) has it, without centring. 1..min(N,D).
    """
    rows = np.asarray(embeddings, np.float64)
    values = np.linalg.svd(rows, compute_uv=False) if len(rows) <= rows.shape[1] else np.sqrt(
        np.maximum(np.linalg.eigvalsh(rows.T @ rows), 0))
    share = values / values.sum()
    share = share[share > 1e-12]
    return float(np.exp(-(share * np.log(share)).sum()))


def uniformity(unit, *, t: float = 2.0) -> float:
    """log of the mean over pairs i < j of exp(-t |x_i - x_j|^2): lower is more uniform.

    unit f[N,D], L2-normalised. Wang, Isola: Understanding Contrastive Representation Learning through Alignment and
    Uniformity on the Hypersphere, 2020, arXiv:2005.10242.
    """
    unit, total = np.asarray(unit, np.float32), 0.0
    for start in range(0, len(unit), 1024):
        part = unit[start:start + 1024]
        total += np.exp(-t * np.maximum(2 - 2 * (part @ unit.T), 0), dtype=np.float64).sum()
    return float(np.log((total - len(unit)) / (len(unit) * (len(unit) - 1))))


def alignment(unit, labels) -> float:
    """Mean squared distance of the pairs of one class (alpha = 2), all of them; NaN where there are none.

    unit f[N,D], L2-normalised; labels int[N]. Wang, Isola, 2020, as `uniformity`.
    """
    unit = np.asarray(unit, np.float64)
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), unit.shape[1]))
    np.add.at(sums, inverse, unit)
    own = np.bincount(inverse, weights=(unit ** 2).sum(axis=1))
    pairs = (counts * (counts - 1) // 2).sum()
    return float((counts * own - (sums ** 2).sum(axis=1)).sum() / pairs) if pairs else float("nan")


def occurrences(unit, k: int) -> np.ndarray:
    """How often each row is among the k nearest of another, i[N]; the largest are the hubs."""
    found, _ = nearest.Gallery(unit).top(unit, k, np.arange(len(unit)))
    return np.bincount(found.ravel(), minlength=len(unit))


def hubness(unit, k: int = 10) -> float:
    """Skewness of `occurrences`; 0 where each row occurs as often. Radovanovic, Nanopoulos, Ivanovic: Hubs in Space,
    2010.
    """
    count = occurrences(unit, k)
    deviation = count - count.mean()
    spread = deviation.std()
    return float((deviation ** 3).mean() / spread ** 3) if spread > 0 else 0.0
