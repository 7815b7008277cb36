"""What processes tell one another through the folder of a checkpoint that they write together.

What sends arrays between them is for the main thread, and this is for a thread beside the steps.
"""

import errno
import time

import jax

from geodesic.experiments.process import storage
from geodesic.experiments.process import workdir as workdirs

# Seconds until the first process gives up a checkpoint of which another has said nothing.
_PATIENCE = 300


def tell(folder: str, values: dict) -> None:
    """Leaves the values of this process, which is not the first, for the first one."""
    workdirs.write_json(_path(folder, jax.process_index()), values)


def by_others(folder: str, pause: float) -> list[dict]:
    """What all other processes have left; it is taken away. pause: seconds between two looks.

    Raises TimeoutError where one has left nothing.
    """
    told = []
    for process in range(1, jax.process_count()):
        path, until = _path(folder, process), time.monotonic() + _PATIENCE
        while not storage.exists(path):
            if time.monotonic() > until:
                raise TimeoutError(errno.ETIMEDOUT, f"process {process} has not told its digests")
            time.sleep(pause)
        told.append(workdirs.read_json(path))
        storage.remove(path)
    return told


def _path(folder: str, process: int) -> str:
    return f"{folder}/digests-{process}.json"
