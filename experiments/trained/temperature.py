"""The temperature of a classifier, fitted on images that it was not trained on: by it its logits are divided, so that
its probabilities are as high as it is right.

temperature.json in the workdir holds one, tied to the checkpoint's digest, the classifier's and the preprocessing, as
thresholds are: another checkpoint's is refused, not used.
"""

import os

from geodesic.configs.stored import flat
from geodesic.errors import UserError
from geodesic.experiments.process import storage, workdir

SCHEMA, VERSION = "geodesic.temperature", 1


def path(run: str) -> str:
    return os.path.join(run, "temperature.json")


def save(run: str, identity: dict, temperature: float, origin: dict) -> None:
    """Replaces the one that is there. identity: of the classifier. origin: which images, for people to read."""
    workdir.write_json(path(run), {"schema": SCHEMA, "version": VERSION, "model": identity, "temperature": temperature,
                                   "origin": origin})


def load(run: str, identity: dict) -> dict | None:
    """What is stored, with "temperature" and "origin"; None where the workdir has none.

    Raises UserError where it is of another checkpoint, classifier or preprocessing.
    """
    if not storage.exists(path(run)):
        return None
    try:
        stored = workdir.read_json(path(run))
        if (stored["schema"], stored["version"]) != (SCHEMA, VERSION) or not stored["temperature"] > 0:
            raise UserError(f"it is of schema {stored['schema']!r}, version {stored['version']!r}")
        there, here = flat(stored["model"]), flat(identity)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path(run)} is no file of geodesic evaluate: {error}") from error
    differing = [f"{key} {there.get(key)} there, {here[key]} here" for key in here if there.get(key) != here[key]]
    if differing:
        raise UserError(f"the temperature in {path(run)} is of another model: {'; '.join(differing[:3])}. "
                        f"Evaluate again")
    return stored
