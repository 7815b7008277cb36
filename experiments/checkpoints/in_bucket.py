"""Checkpoints in a bucket: a step is filled under its own name, and counts once it has its manifest.

One without it was never finished, and is removed where a run goes on.
"""

import re

import jax

from geodesic.experiments.checkpoints import digests, packed, seal
from geodesic.experiments.process import appending, lease, storage


def steps(path: str) -> list[int]:
    """Of those that were finished, ascending."""
    return sorted(int(name.partition("/")[0]) for name in storage.files(path)
                  if re.fullmatch(rf"\d+/{seal.NAME}", name))


def remove_unfinished(path: str, but: int = -1) -> None:
    """but: the step that is being written."""
    whole = steps(path)
    for name in storage.names(path):
        if name.isdigit() and int(name) not in (*whole, but):
            storage.remove(f"{path}/{name}")


def write_part(folder: str, held: dict[str, digests.Part], num_classes: int | None) -> dict:
    """What this process holds goes there; what the manifest says of it, with "digests" as numbers."""
    sums = digests.of_parts(held, num_classes)
    return {"digests": sums, **packed.write(folder, jax.process_index(), held)}


def commit(folder: str, record: dict, parts: list[dict]) -> None:
    """Writes the manifest over what all processes have written. parts: of `write_part`, of each."""
    whole = {"digests": {}, "files": {}, "pieces": {}}
    for part in parts:
        whole["files"] |= part["files"]
        for name, number in part["digests"].items():
            whole["digests"][name] = whole["digests"].get(name, 0) + number
        for name, pieces in part["pieces"].items():
            whole["pieces"].setdefault(name, []).extend(pieces)
    whole["digests"] = {name: digests.written(number) for name, number in whole["digests"].items()}
    appending.flush()  # no record of a step may be missing where its checkpoint is there
    lease.check()
    seal.write(folder, {**record, **whole})
