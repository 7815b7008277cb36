"""Thresholds of a model: the cosine from which two images count as one identity, kept beside its checkpoints.

thresholds.json in the workdir holds one for each false accept rate that was asked for, tied to the checkpoint's digest
and the preprocessing: another checkpoint's threshold is refused, not used.
"""

import json
import os
from typing import NamedTuple

import numpy as np

from geodesic.configs.stored import flat
from geodesic.errors import UserError
from geodesic.experiments.process import workdir
from geodesic.metrics import bootstrap, verification

SCHEMA, VERSION = "geodesic.thresholds", 1
# Pairs of all resamples together: with more, there are fewer resamples. A minute or so.
_PAIRS_IN_ALL = 5_000_000_000


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


def calibrate(embeddings: np.ndarray, labels: np.ndarray, far: float, seed: int) -> Calibration:
    """The smallest threshold whose false accept rate over all pairs is at most `far`.

    embeddings f32[N,D], L2-normalised; labels int[N]. The intervals are of the bootstrap over identities.
    Raises UserError where so few impostor pairs cannot show the rate, and for rates outside 0..1.
    """
    if not 0 < far < 1:
        raise UserError(f"a false accept rate is between 0 and 1; got {far:g}")
    scores, same = verification.all_pairs(embeddings, labels)
    impostors = int((~same).sum())
    if not same.any() or impostors < 1 / far:
        raise UserError(f"{same.sum():,} genuine and {impostors:,} impostor pairs of {len(np.unique(labels)):,} "
                        f"identities cannot show a false accept rate of {far:g}: it takes {1 / far:,.0f} impostor "
                        f"pairs at least. Calibrate on more identities, or for a larger rate")
    curve = verification.roc(scores, same)
    at = int(np.searchsorted(curve.far, far, side="right")) - 1
    # Below the first point of the curve nothing is accepted: just above the highest score.
    threshold = float(curve.threshold[at]) if at else float(np.nextafter(curve.threshold[1], np.inf))
    first, second = np.triu_indices(len(labels), k=1)
    _, identity = np.unique(labels, return_inverse=True)
    resamples = int(np.clip(_PAIRS_IN_ALL // len(scores), 100, bootstrap.RESAMPLES))
    rates = bootstrap.Rates(scores, same, identity[first], identity[second], seed, also=[threshold],
                            resamples=resamples)
    place = int(np.flatnonzero(rates.thresholds == threshold)[0])
    return Calibration(far, threshold, bootstrap.percentiles(rates.threshold_at(far)[1:]),
                       float(curve.far[at]), bootstrap.percentiles(rates.far[1:, place]),
                       float(curve.tar[at]), bootstrap.percentiles(rates.tar[1:, place]),
                       len(np.unique(labels)), int(same.sum()), impostors, resamples)


def path(run: str) -> str:
    return os.path.join(run, "thresholds.json")


def save(run: str, identity: dict, calibration: Calibration, origin: dict) -> None:
    """Adds one, or replaces that of the same rate. origin: which identities, for people to read.

    Those of another checkpoint or preprocessing are dropped: they are of no use any more.
    """
    known = [entry for entry in _read(run)["thresholds"] if entry["far"] != calibration.far] if (
        os.path.exists(path(run)) and _read(run)["model"] == identity) else []
    known.append(calibration._asdict() | {"origin": origin})
    workdir.write_json(path(run), {"schema": SCHEMA, "version": VERSION, "model": identity,
                                   "thresholds": sorted(known, key=lambda entry: -entry["far"])})


def entries(run: str) -> list[dict]:
    """All that are stored, of whatever model; [] where there are none."""
    return _read(run)["thresholds"] if os.path.exists(path(run)) else []


def load(run: str, identity: dict, far: float = 0.0) -> dict | None:
    """The entry of this rate (0: of the smallest there is); None where the workdir has no thresholds at all.

    Raises UserError where they are of another checkpoint or preprocessing, and where none is of this rate.
    """
    if not os.path.exists(path(run)):
        return None
    stored = _read(run)
    there, here = flat(stored["model"]), flat(identity)
    differing = [f"{key} {there.get(key)} there, {here[key]} here" for key in here if there.get(key) != here[key]]
    if differing:
        raise UserError(f"the thresholds in {path(run)} are of another model: {'; '.join(differing[:3])}. "
                        f"Calibrate again")
    found = [entry for entry in stored["thresholds"] if not far or np.isclose(entry["far"], far, rtol=1e-9)]
    if not found:
        known = ", ".join(f"{entry['far']:g}" for entry in stored["thresholds"])
        raise UserError(f"no threshold for a false accept rate of {far:g} in {path(run)}; it has {known}")
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
        with open(path(run)) as file:
            stored = json.load(file)
        if (stored["schema"], stored["version"]) != (SCHEMA, VERSION) or not stored["thresholds"]:
            raise UserError(f"it is of schema {stored['schema']!r}, version {stored['version']!r}")
        return stored
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path(run)} is no file of geodesic calibrate: {error}") from error
