"""classes.json of a workdir: what a run was trained on, by name, so that it can be used where its data are not."""

import os

from geodesic.errors import UserError
from geodesic.experiments.process import workdir as workdirs

SCHEMA, VERSION = "geodesic.classes", 1


def path(workdir: str) -> str:
    return os.path.join(workdir, "classes.json")


def write(workdir: str, train: dict, test: dict) -> None:
    """train, test: of `datasets.identity.identity`, of the sources that a run trains on and is watched on."""
    workdirs.write_json(path(workdir), {"schema": SCHEMA, "version": VERSION, "train": train, "test": test})


def read(workdir: str) -> dict | None:
    """{"train", "test"} as written; None of a run that an older version has trained, and of imported weights.

    Raises UserError for a file of something else.
    """
    try:
        content = workdirs.read_json(path(workdir))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path(workdir)} is damaged: {error}") from error
    if not isinstance(content, dict) or (content.get("schema"), content.get("version")) != (SCHEMA, VERSION):
        raise UserError(f"{path(workdir)} is not the list of a run's classes: expected schema {SCHEMA!r} of version "
                        f"{VERSION}")
    return content
