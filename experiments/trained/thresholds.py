"""Thresholds of a model: the cosine from which two images count as one identity, kept beside its checkpoints.

thresholds.json in the workdir holds one for each false accept rate that was asked for, tied to the checkpoint's digest
and the preprocessing: another checkpoint's threshold is refused, not used.
"""

import os
from typing import NamedTuple

import numpy as np

from geodesic.configs.stored import flat
from geodesic.errors import UserError
from geodesic.experiments.process import storage, workdir
from geodesic.metrics import bootstrap, pair_counts, pairs, verification

SCHEMA, VERSION = "geodesic.thresholds", 1
# Pairs of all resamples together: with more, there are fewer resamples. A minute or so.
_PAIRS_IN_ALL = 5_000_000_000
# Genuine, and as many impostor pairs, that the intervals are of where all pairs are too many to hold.
_SAMPLE = 2**20


class Calibration(NamedTuple):
    """threshold: cosine; a pair is the same identity iff its cosine is at least this. (low, high): 95 % intervals."""

    far: float                  # wanted
    threshold: float
    threshold_interval: tuple
    measured_far: float         # at the threshold, at most `far`
    far_interval: tuple         # at the threshold, over other draws of identities
    tar: float
    tar_interval: tuple
    identities: int
    genuine_pairs: int
    impostor_pairs: int
    resamples: int              # of the bootstrap
    sampled: float = 1.0        # share of the pairs that the intervals are of; the threshold and its rates are of all


def calibrate(embeddings: np.ndarray, labels: np.ndarray, far: float, seed: int, *,
              held_pairs: int = verification.HELD_PAIRS) -> Calibration:
    """The smallest threshold whose false accept rate over all pairs is at most `far`.

    embeddings f32[N,D], L2-normalised; labels int[N]. The intervals are of the bootstrap over identities.
    held_pairs: more pairs than this are counted and never held: the threshold is as exact, and the intervals are of
    all impostor pairs near it, or, where these are many, of a sample of them.
    Raises UserError where so few impostor pairs cannot show the rate, and for rates outside 0..1.
    """
    if not 0 < far < 1:
        raise UserError(f"a false accept rate is between 0 and 1; got {far:g}")
    _, identity, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    genuine, count = int((sizes * (sizes - 1) // 2).sum()), len(labels) * (len(labels) - 1) // 2
    impostors = count - genuine
    if not genuine or impostors < 1 / far:
        raise UserError(f"{genuine:,} genuine and {impostors:,} impostor pairs of {len(sizes):,} identities cannot "
                        f"show a false accept rate of {far:g}: it takes {1 / far:,.0f} impostor pairs at least. "
                        f"Calibrate on more identities, or for a larger rate")
    measure = _of_held if count <= held_pairs else _of_many
    threshold, measured_far, tar, intervals, resamples, sampled = measure(embeddings, identity, far, seed)
    return Calibration(far, threshold, intervals[0], measured_far, intervals[1], tar, intervals[2], len(sizes), genuine,
                       impostors, resamples, sampled)


def _of_held(embeddings, identity, far: float, seed: int) -> tuple:
    """(threshold, FAR, TAR, the intervals of the three, resamples, 1.0), all pairs at once."""
    scores, same = verification.all_pairs(embeddings, identity)
    curve = verification.roc(scores, same)
    at = int(np.searchsorted(curve.far, far, side="right")) - 1
    # Below the first point of the curve nothing is accepted: just above the highest score.
    threshold = float(curve.threshold[at]) if at else float(np.nextafter(curve.threshold[1], np.inf))
    first, second = np.triu_indices(len(identity), k=1)
    resamples = int(np.clip(_PAIRS_IN_ALL // len(scores), 100, bootstrap.RESAMPLES))
    rates = bootstrap.Rates(scores, same, identity[first], identity[second], seed, also=[threshold],
                            resamples=resamples)
    place = int(np.flatnonzero(rates.thresholds == threshold)[0])
    replicates = rates.threshold_at(far)[1:], rates.far[1:, place], rates.tar[1:, place]
    return (threshold, float(curve.far[at]), float(curve.tar[at]), [bootstrap.percentiles(row) for row in replicates],
            resamples, 1.0)


def _of_many(embeddings, identity, far: float, seed: int) -> tuple:
    """As `_of_held`, in bounded memory: the intervals are of the impostor pairs that score highest, many times as many
    as the rate accepts, and of the genuine pairs; of each kind of a sample. The weight of all has a closed form.
    """
    threshold, measured_far, tar = pairs.threshold_at(embeddings, identity, far)
    sizes = np.bincount(identity)
    genuine_pairs = (sizes * (sizes - 1) // 2).sum()
    impostor_pairs = len(identity) * (len(identity) - 1) // 2 - genuine_pairs
    highest = min(1.0, max(16 * far, _SAMPLE / impostor_pairs))
    floor = pairs.threshold_at(embeddings, identity, highest)[0] if highest < 1 else -np.inf
    shares = [min(1.0, _SAMPLE / count) for count in (genuine_pairs, highest * impostor_pairs)]
    (genuine, owner), (tail, ends) = _sample(embeddings, identity, floor, shares, seed)
    known = np.unique(np.concatenate([genuine, tail]))
    accepted_at, resamples = int(np.searchsorted(-tail, -threshold, side="right")), bootstrap.RESAMPLES
    # What one pair stands for: so many that the sample has the rate of all at the threshold.
    weight = round(measured_far * impostor_pairs) / accepted_at if accepted_at else 1 / shares[1]

    def measure(drawn) -> tuple[float, float, float]:
        many, held = drawn * sizes, drawn[owner[:, 0]]
        total = (many.sum() ** 2 - (many ** 2).sum()) / 2
        if not total or not held.sum():
            return (np.nan,) * 3
        rates = np.cumsum(drawn[ends[:, 0]] * drawn[ends[:, 1]]) * (weight / total)
        refused = int(np.searchsorted(rates, far, side="right"))
        limit = float(tail[min(refused, len(tail) - 1)])  # at the end of the tail hardly ever
        above = int(np.searchsorted(known, limit, side="right"))
        lowest = known[above] if above < len(known) else np.nextafter(limit, np.inf)
        return lowest, rates[accepted_at - 1] if accepted_at else 0.0, held[genuine >= threshold].sum() / held.sum()

    replicates = zip(*map(measure, bootstrap.weights(len(sizes), resamples, seed)), strict=True)
    return (threshold, measured_far, tar, [bootstrap.percentiles(row) for row in replicates], resamples,
            float(min(shares)))


def _sample(embeddings, identity, floor: float, shares: list[float], seed: int) -> list[tuple]:
    """(scores f32[M], falling, and both identities i[M,2]) of the genuine pairs, and of the impostor pairs that score
    at least `floor`: of each kind this share, drawn at random.
    """
    rng, parts = np.random.default_rng(seed), ([], [])
    for cosines, same, rows, columns in pair_counts.blocks(embeddings, identity):
        for part, wanted, share in zip(parts, (same, ~same & (cosines >= floor)), shares, strict=True):
            kept = np.flatnonzero(wanted)
            kept = kept if share == 1 else kept[rng.random(len(kept)) < share]
            part.append((cosines[kept], np.stack([identity[rows[kept]], identity[columns[kept]]], axis=1)))
    found = [[np.concatenate(values) for values in zip(*part, strict=True)] for part in parts]
    orders = [np.argsort(-scores, kind="stable") for scores, _ in found]
    return [(scores[order], ends[order]) for (scores, ends), order in zip(found, orders, strict=True)]


def path(run: str) -> str:
    return os.path.join(run, "thresholds.json")


def save(run: str, identity: dict, calibration: Calibration, origin: dict) -> None:
    """Adds one, or replaces that of the same rate. origin: which identities, for people to read.

    Those of another checkpoint or preprocessing are dropped: they are of no use any more.
    """
    known = [entry for entry in _read(run)["thresholds"] if entry["far"] != calibration.far] if (
        storage.exists(path(run)) and _read(run)["model"] == identity) else []
    known.append(calibration._asdict() | {"origin": origin})
    workdir.write_json(path(run), {"schema": SCHEMA, "version": VERSION, "model": identity,
                                   "thresholds": sorted(known, key=lambda entry: -entry["far"])})


def entries(run: str) -> list[dict]:
    """All that are stored, of whatever model; [] where there are none."""
    return _read(run)["thresholds"] if storage.exists(path(run)) else []


def load(run: str, identity: dict, far: float = 0.0) -> dict | None:
    """The entry of this rate (0: of the smallest there is); None where the workdir has no thresholds at all.

    Raises UserError where they are of another checkpoint or preprocessing, and where none is of this rate.
    """
    if not storage.exists(path(run)):
        return None
    stored = _read(run)
    there, here = flat(stored["model"]), flat(identity)
    differing = [f"{key} {there.get(key)} there, {here[key]} here" for key in here if there.get(key) != here[key]]
    if differing:
        raise UserError(f"the thresholds in {path(run)} are of another model: {'; '.join(differing[:3])}. "
                        f"Calibrate again")
    return choose(stored["thresholds"], far, path(run))


def choose(entries: list[dict], far: float, where: str) -> dict:
    """That of this rate, 0: of the smallest. where: they lie. Raises UserError where none is of this rate."""
    found = [entry for entry in entries if not far or np.isclose(entry["far"], far, rtol=1e-9)]
    if not found:
        known = ", ".join(f"{entry['far']:g}" for entry in entries)
        raise UserError(f"no threshold for a false accept rate of {far:g} in {where}; it has {known}")
    return min(found, key=lambda entry: entry["far"])


def describe_rates(entry: dict) -> str:
    """The false and true accept rates at a stored threshold, with their intervals."""
    parts = []
    for name, value, interval in (("FAR", entry["measured_far"], entry["far_interval"]),
                                  ("TAR", entry["tar"], entry["tar_interval"])):
        low, high = interval
        parts.append(f"{name} {value:.3g}" + ("" if low is None else f" [{low:.3g}, {high:.3g}]"))
    return ", ".join(parts) + f" (calibrated on {entry['identities']:,} identities for FAR {entry['far']:g})"


def _read(run: str) -> dict:
    try:
        stored = workdir.read_json(path(run))
        if (stored["schema"], stored["version"]) != (SCHEMA, VERSION) or not stored["thresholds"]:
            raise UserError(f"it is of schema {stored['schema']!r}, version {stored['version']!r}")
        return stored
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path(run)} is no file of geodesic calibrate: {error}") from error
