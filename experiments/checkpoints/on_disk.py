"""Checkpoints on a disk: orbax writes a step under another name, and the rename is the commit."""

import contextlib
import os
import shutil

import orbax.checkpoint as ocp

from geodesic.experiments.checkpoints import digests, forms, plain_path, seal, stored_arrays, told
from geodesic.experiments.process import hosts

_SAVING = "saving-"


class OnDisk:
    """Where the steps of a run lie on a disk, and how one is written there. in_bucket.InBucket is the same in a bucket.
    """

    def __init__(self, path: str, orbax: ocp.StandardCheckpointer):
        """Raises UserError for a folder in which orbax cannot store."""
        plain_path.check(path)
        self._path, self._orbax, self._links = path, orbax, contextlib.ExitStack()

    def steps(self) -> list[int]:
        """Of those that were finished, damaged or not, ascending."""
        names = os.listdir(self._path) if os.path.isdir(self._path) else ()
        return sorted(int(name) for name in names if name.isdigit())

    def remove_unfinished(self) -> None:
        os.makedirs(self._path, exist_ok=True)
        for name in os.listdir(self._path):
            if name.startswith(_SAVING):
                shutil.rmtree(os.path.join(self._path, name), ignore_errors=True)

    def begin(self, step: int, state, failed: str) -> None:
        """In the main thread of all processes: returns when the state may be given away."""
        del failed  # what a save leaves that fails is removed at once
        hosts.first_does(lambda: os.makedirs(self._saving(step), exist_ok=True))
        folder = self._links.enter_context(plain_path.of(self._saving(step)))
        self._orbax.save(os.path.join(folder, forms.ARRAYS), state, force=True)

    def finish(self, step: int, record: dict, held: dict[str, digests.Part]) -> None:
        """In a thread of all processes: seals what orbax has written, and gives it its name. held: is emptied."""
        sums, saving = digests.of_parts(held, record["num_classes"]), self._saving(step)
        held.clear()
        if not hosts.is_first():
            told.tell(saving, sums)
        self._orbax.wait_until_finished()
        self._links.close()
        if hosts.is_first():
            seal.close(saving, {**record, "digests": digests.added([sums, *told.by_others(saving, pause=0.05)])})
            self.remove(step)
            os.rename(saving, self._folder(step))

    def abandon(self, step: int) -> None:
        """Removes what a save has left that failed."""
        self._links.close()
        if hosts.is_first():
            shutil.rmtree(self._saving(step), ignore_errors=True)

    def rewrite(self, step: int, record: dict) -> None:
        """Puts another manifest in the place of a step's, when all of it is on the disk."""
        try:
            os.makedirs(self._saving(step), exist_ok=True)
            seal.write(self._saving(step), record)
            os.replace(os.path.join(self._saving(step), seal.NAME), os.path.join(self._folder(step), seal.NAME))
        finally:
            shutil.rmtree(self._saving(step), ignore_errors=True)

    def remove(self, step: int) -> None:
        shutil.rmtree(self._folder(step), ignore_errors=True)

    def is_damage(self, error: Exception) -> bool:
        """Whether an error in reading tells of a damaged checkpoint."""
        return True

    def damaged_arrays(self, step: int, record: dict | None) -> str:
        """Which arrays are not what the manifest says, to be added to a message."""
        return "" if record and "pieces" in record else stored_arrays.damaged(
            os.path.join(self._folder(step), forms.ARRAYS), record)

    def _folder(self, step: int) -> str:
        return os.path.join(self._path, str(step))

    def _saving(self, step: int) -> str:
        return os.path.join(self._path, f"{_SAVING}{step}")
