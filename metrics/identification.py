"""Identification, one probe against an enrolled gallery: closed set (every probe is enrolled) and open set."""

from typing import NamedTuple

import numpy as np

from ..errors import UserError
from . import retrieval
from .neighbors import nearest


def closed_set(probes, probe_labels, gallery, gallery_labels, *, ranks=(1, 5, 10), mesh=None) -> dict[str, float]:
    """Share of probes whose mate is within the first k enrolled: {"rank-1": ...}. Probes without a mate are left out
    and counted in "probes_without_mate".

    probes f[Q,D], gallery f[N,D], by cosine; labels int[Q], int[N]. Raises UserError for values that are not finite, a
    gallery that has collapsed to one point, and where no probe has a mate.
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
    """True positive identification rate at each false positive identification rate.

    A probe is answered by its nearest enrolled row (ties by index) iff the cosine is at or above the threshold. FPIR:
    share of the probes without a mate that are answered. The threshold is the lowest probe score at which FPIR is at
    most the wanted rate, without interpolation; where even the highest score has a larger one, TPIR is 0 and
    `reachable` False. ISO/IEC 19795-1; Grother, Ngan: FRVT 1:N. Arguments as in `closed_set`.
    Raises UserError as `closed_set`, and where all probes have a mate.
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
