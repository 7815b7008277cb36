"""Checkpoints in a bucket, which has no rename: a step is filled under its own name, and counts with its manifest.

One without it was never finished, and is removed where a run goes on.
"""

import re

import jax

from geodesic.experiments.checkpoints import digests, packed, seal, told
from geodesic.experiments.process import appending, hosts, lease, storage


class InBucket:
    """Where the steps of a run lie in a bucket, and how one is written there. on_disk.OnDisk says what each does."""

    def __init__(self, path: str):
        self._path, self._again = path, False

    def steps(self) -> list[int]:
        return sorted(int(name.partition("/")[0]) for name in storage.files(self._path)
                      if re.fullmatch(rf"\d+/{seal.NAME}", name))

    def remove_unfinished(self, but: int = -1) -> None:
        """but: the step that is being written."""
        whole = self.steps()
        for name in storage.names(self._path):
            if name.isdigit() and int(name) not in (*whole, but):
                storage.remove(self._folder(name))

    def begin(self, step: int, state, failed: str) -> None:
        """failed: why the save before has failed, and so may have left something; "" where it has not."""
        self._again = hosts.from_first(bool(failed))

    def finish(self, step: int, record: dict, held: dict[str, digests.Part]) -> None:
        if hosts.is_first() and self._again:
            self.remove_unfinished(but=step)
        folder = self._folder(step)
        sums = digests.of_parts(held, record["num_classes"])
        part = {"digests": sums, **packed.write(folder, jax.process_index(), held)}
        held.clear()
        if hosts.is_first():
            _commit(folder, record, [part, *told.by_others(folder, pause=0.5)])
        else:
            told.tell(folder, part)

    def abandon(self, step: int) -> None:
        """Leaves it: the connection may be lost. The next save removes it."""

    def rewrite(self, step: int, record: dict) -> None:
        seal.write(self._folder(step), record)

    def remove(self, step: int) -> None:
        storage.remove(self._folder(step), last=[seal.NAME])

    def is_damage(self, error: Exception) -> bool:
        """What cannot be reached, or may not be read, is not damaged."""
        return not isinstance(error, OSError)

    def damaged_arrays(self, step: int, record: dict | None) -> str:
        """Nothing: what was read and is damaged was named with its array."""
        return ""

    def _folder(self, step) -> str:
        return f"{self._path}/{step}"


def _commit(folder: str, record: dict, parts: list[dict]) -> None:
    """Writes the manifest over what all processes have written: "digests", "files" and "pieces" of each."""
    whole = {"digests": digests.added([part["digests"] for part in parts]), "files": {}, "pieces": {}}
    for part in parts:
        whole["files"] |= part["files"]
        for name, pieces in part["pieces"].items():
            whole["pieces"].setdefault(name, []).extend(pieces)
    appending.flush()  # no record of a step may be missing where its checkpoint is there
    lease.check()
    seal.write(folder, {**record, **whole})
