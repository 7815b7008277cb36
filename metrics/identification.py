"""Identification, one probe against an enrolled gallery: closed set (every probe is enrolled) and open set."""

from typing import NamedTuple

import numpy as np

from ..errors import UserError
from . import retrieval
from .neighbors import nearest


def closed_set(probes, probe_labels, gallery, gallery_labels, *, ranks=(1, 5, 10), mesh=None) -> dict[str, float]:
    """Gives the share of probes whose mate is within the first k enrolled rows, by cosine.

    Args:
        probes: f[Q,D], of any length.
        probe_labels: int[Q].
        gallery: f[N,D], the enrolled rows, of any length.
        gallery_labels: int[N].
        ranks: the k.
        mesh: splits the gallery over its axis "data".

    Returns:
        "rank-k" for each k; "probes", the number of those that have a mate, and "probes_without_mate", of those that
        are left out.

    Raises:
        UserError: a value is not finite, the gallery has collapsed to one point, or no probe has a mate.

    References:
        Phillips, Moon, Rizvi, Rauss: The FERET Evaluation Methodology for Face-Recognition Algorithms, 2000.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import identification
        >>> probes = np.array([[1.0, 0.1, 0.0], [0.9, 1.0, 0.0], [1.0, 0.9, 0.0]])
        >>> identification.closed_set(probes, np.array([0, 1, 9]), np.eye(3), np.arange(3), ranks=(1, 2))
        {'rank-1': 1.0, 'rank-2': 1.0, 'probes': 2, 'probes_without_mate': 1}
    """
    gallery = retrieval.normalized(gallery)
    retrieval.check_spread(gallery)
    rankings = retrieval.rank(retrieval.normalized(probes), probe_labels, gallery, gallery_labels, mesh=mesh)
    mated = rankings.matches > 0
    if not mated.any():
        raise UserError("no probe has a mate in the gallery")
    return {f"rank-{k}": float((rankings.best[mated] < k).mean()) for k in ranks} | {
        "probes": int(mated.sum()), "probes_without_mate": int((~mated).sum())}


class OpenSet(NamedTuple):
    tpir: float             # share of mated probes found: the mate comes first, and at or above the threshold
    threshold: float        # cosine; infinite where the rate is unreachable
    reachable: bool


def open_set(probes, probe_labels, gallery, gallery_labels, *, fpir=(1e-1, 1e-2), mesh=None) -> dict[float, OpenSet]:
    """Gives the true positive identification rate at each false positive identification rate.

    A probe is answered by its nearest enrolled row (of equals the lower index) iff the cosine is at or above the
    threshold. FPIR is the share of the probes without a mate that are answered. The threshold is the lowest probe
    score at which FPIR is at most the wanted rate, without interpolation; where even the highest score has a larger
    one, TPIR is 0 and `reachable` is False. Where the rate allows exactly k probes without a mate, all k are answered;
    insightface's `evaluation_1N` answers k - 1.

    Args:
        probes: f[Q,D], of any length.
        probe_labels: int[Q]; some have a mate in the gallery and some have none.
        gallery: f[N,D], the enrolled rows, of any length.
        gallery_labels: int[N].
        fpir: the wanted rates.
        mesh: splits the gallery over its axis "data".

    Returns:
        TPIR, threshold and reachability for each rate.

    Raises:
        UserError: a value is not finite, the gallery has collapsed to one point, or all probes or none have a mate.

    References:
        ISO/IEC 19795-1: Biometric performance testing and reporting.
        Grother, Ngan, Hanaoka: Face Recognition Vendor Test, Part 2: Identification, 2019, NISTIR 8271.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import identification
        >>> probes = np.array([[1.0, 0.1, 0.0], [0.0, 1.0, 0.9], [0.8, 0.0, 0.6], [0.5, 0.5, 0.6]])
        >>> found = identification.open_set(probes, np.array([0, 1, 8, 9]), np.eye(3), np.arange(3), fpir=(0.5, 0.1))
        >>> found[0.5].tpir, found[0.1].tpir
        (1.0, 0.5)
    """
    probe_labels, gallery_labels = np.asarray(probe_labels), np.asarray(gallery_labels)
    gallery = retrieval.normalized(gallery)
    retrieval.check_spread(gallery)
    found, scores = nearest.Gallery(gallery, mesh).top(retrieval.normalized(probes), 1)
    found, scores = found[:, 0], scores[:, 0].astype(np.float64)
    mated = np.isin(probe_labels, gallery_labels)
    if mated.all() or not mated.any():
        raise UserError(f"open-set identification needs probes with and without a mate; got {mated.sum()} and "
                        f"{(~mated).sum()}")
    impostors = np.sort(scores[~mated])[::-1]
    correct = gallery_labels[found[mated]] == probe_labels[mated]
    result = {}
    for rate in fpir:
        allowed = int(np.searchsorted(np.arange(1, len(impostors) + 1) / len(impostors), rate, side="right"))
        above = scores if allowed == len(impostors) else scores[scores > impostors[allowed]]
        threshold = float(above.min()) if len(above) else float("inf")
        result[rate] = OpenSet(float((correct & (scores[mated] >= threshold)).mean()), threshold, bool(len(above)))
    return result
