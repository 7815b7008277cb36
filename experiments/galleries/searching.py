"""What a query finds, and what it is taken for."""

from typing import NamedTuple

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.galleries import pictures
from geodesic.experiments.galleries.held import Held

UNKNOWN = "unknown"


class Hit(NamedTuple):
    """A row that was found. known: whether its cosine reaches the threshold; None without one."""

    id: str
    path: str
    label: str
    cosine: float
    known: bool | None


class Found(NamedTuple):
    """What one query has found, best first. answer: the label (or id) of the first hit, "unknown" where that is below
    the threshold, None without one."""

    query: str
    hits: list[Hit]
    answer: str | None


def exact(held: Held, queries: np.ndarray, k: int) -> list[list[dict]]:
    """For each unit vector the k nearest rows, each with its "cosine", best first."""
    places, cosines = held.top(queries, k)
    return [[{**row, "cosine": float(cosine)} for row, cosine in zip(held.rows(found[found >= 0]), scores,
                                                                    strict=False)]
            for found, scores in zip(places, cosines, strict=True)]


def limit(run, given: float | None, far: float, info: dict) -> float | None:
    """The threshold, as of `Gallery.threshold`. run: may be None. info: of the gallery."""
    if given is not None:
        return given
    try:
        return run.threshold_of(far)["threshold"]
    except (UserError, AttributeError):
        if far:
            raise
        return info["threshold"] and info["threshold"]["threshold"]


def answered(name: str, own: str, rows: list[dict], k: int, limit: float | None) -> Found:
    """own: the path of the query, which it does not find. rows: the nearest, best first, more than k of them."""
    hits = [Hit(*(pictures.unescaped(row[field]) for field in ("id", "path", "label")), row["cosine"],
                None if limit is None else row["cosine"] >= limit)
            for row in rows if not own or row["path"] != own][:k]
    answer = None if limit is None else UNKNOWN
    if hits and hits[0].known:
        answer = hits[0].label or hits[0].id
    return Found(name, hits, answer)
