"""The processes of a run (one for each host, or for each accelerator): how they find one another, and how they agree.

With one process everything here is free: nothing is sent, nobody is waited for.
"""

import json
import os
import re
import traceback
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic.errors import UserError
from geodesic.experiments.process import accelerators, last_word

# Seconds after which a process that says nothing counts as lost, and the others end.
_HEARTBEAT_SECONDS = 60
# Status codes of absl with which XLA tells of a lost process: always, and where the message names one of these.
_LOST = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED")
_PERHAPS_LOST = ("INTERNAL", "FAILED_PRECONDITION", "UNKNOWN")
_BETWEEN_PROCESSES = re.compile(r"(?<![/\w])(Gloo|NCCL|CoordinationService\w*)(?![/\w])")


def start(address: str = "", count: int = 0, index: int = -1, alone: bool = False) -> bool:
    """Joins the other processes, where the flags or the environment say that there are any; says whether.

    address: host:port of process 0. count: of processes. index: of this one. The environment is that of Slurm's srun,
    of Open MPI's mpirun, of a Cloud TPU, or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID (which
    launch/jobset_gpu.yaml sets). alone: for a program that one host of a TPU runs without the others. Raises UserError
    where some of the three are missing, and where they do not fit.
    """
    given = (address or os.environ.get("JAX_COORDINATOR_ADDRESS", ""),
             count or _integer("JAX_NUM_PROCESSES", 0), index if index >= 0 else _integer("JAX_PROCESS_ID", -1))
    named = given[1] > 0 or given[2] >= 0 or bool(address)
    if named and not (given[0] and 0 <= given[2] < given[1]):
        raise UserError(f"several processes need --coordinator_address=host:port, --num_processes and --process_id "
                        f"below it (or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID); got {given}")
    if not named and not (_launched_as_one_of_many() or (_on_tpu() and not alone)):
        return False
    # Its own handler of SIGTERM would compete with stop_signal's, and know of no other signal.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    detected = {} if not named else {"coordinator_address": given[0], "num_processes": given[1],
                                     "process_id": given[2], "cluster_detection_method": "deactivate"}
    # jax aborts where it does not find the others, and where it notices later that one is lost.
    place = f" at {given[0]}" if named else ""
    last_word.watch_abort(f"error: the processes have not found one another{place}; jax says above what it waited for. "
                          f"Start all of them again, with the address of the first")
    jax.distributed.initialize(**detected, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS)
    last_word.watch_abort(last_word.of_a_lost_peer(
        jax.process_index(), "jax's watch over the processes has aborted this one, for what stands above"))
    return jax.process_count() > 1


def _integer(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    if not value.lstrip("-").isdigit():
        if value:
            raise UserError(f"{name}={value!r} in the environment: expected a number")
        return default
    return int(value)


def _launched_as_one_of_many() -> bool:
    # Slurm sets the first in every step of srun, and not in the batch script around it.
    return _integer("SLURM_STEP_NUM_TASKS", 1) > 1 or _integer("OMPI_COMM_WORLD_SIZE", 1) > 1


def _on_tpu() -> bool:
    """On a machine with TPUs, jax asks the cloud's metadata how many hosts there are."""
    return accelerators.found()[0] == "TPU" and accelerators.can_use("TPU") and jax.config.jax_platforms != "cpu"


def is_first() -> bool:
    """Whether this process is the one that writes files."""
    return jax.process_index() == 0


def share() -> dict[str, int]:
    """Which process this is, of how many, as `datasets` wants to be told whose share to read."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def must_be_alone(program: str) -> None:
    """Raises UserError in one of many processes, for a program that would do everything as often as there are."""
    if jax.process_count() > 1:
        raise UserError(f"{program} is for one process, and this is one of {jax.process_count()}: start it once")


def from_first(value):
    """The value that process 0 gives, on all of them. It goes through JSON."""
    if jax.process_count() == 1:
        return value
    content = np.frombuffer(json.dumps(value).encode(), np.uint8)
    padded = np.zeros(int(multihost_utils.broadcast_one_to_all(np.int32(len(content)))), np.uint8)
    if is_first():
        padded[:] = content
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes())


def first_does(action: Callable[[], None]) -> None:
    """Does `action` on process 0. Its OSError or ValueError is raised there, and as a UserError on the others."""
    problem = None
    if is_first():
        try:
            action()
        except (OSError, ValueError) as error:
            problem = error
    message = from_first(None if problem is None else str(problem))
    if problem is not None:
        raise problem
    if message is not None:
        raise UserError(message)


def add(values: np.ndarray) -> np.ndarray:
    """Sums u64[n] over all processes, modulo 2^64."""
    if jax.process_count() == 1:
        return values
    # jax has no 64-bit integers here: two of 32 travel.
    gathered = multihost_utils.process_allgather(np.ascontiguousarray(values).view(np.uint32))
    return np.ascontiguousarray(gathered).view(np.uint64).sum(axis=0, dtype=np.uint64)


def lost_peer(error: Exception) -> str:
    """The line for an error that tells of another process's end; "" for any other error.

    XLA's errors begin with a status code. Some codes come of nothing else here; others do where the message names what
    moves data or messages between processes. Where jax calls XLA without Python between, an error is a ValueError, and
    has no frame of jax's: there it must begin as one of theirs.
    """
    text = " ".join(str(error).split())
    code, _, message = text.partition(": ")
    from_jax = isinstance(error, jax.errors.JaxRuntimeError) or (type(error) is ValueError and (
        message.startswith(("Gloo ", "NCCL ")) or any(
            frame.filename == multihost_utils.__file__ for frame in traceback.extract_tb(error.__traceback__))))
    if not from_jax or not (code in _LOST or (code in _PERHAPS_LOST and _BETWEEN_PROCESSES.search(text))):
        return ""
    return last_word.of_a_lost_peer(jax.process_index(), text)


class Agreement:
    """A number that any process may raise, and that all of them learn of at the same call: when to stop.

    A maximum over the devices travels with every call. It is read at the next one, when the devices have long had it,
    so that nobody waits; the price is that the answer is one call old. This needs no service beside the devices, works
    for every signal, and in every loop whose rounds are the same on all processes. With one process there is no delay.
    """

    def __init__(self, mesh: jax.sharding.Mesh):
        self._alone = jax.process_count() == 1
        self._split = NamedSharding(mesh, P(mesh.axis_names))
        self._maximum = jax.jit(lambda values: values.max(), out_shardings=NamedSharding(mesh, P()))
        self._here = sum(device.process_index == jax.process_index() for device in mesh.devices.flat)
        self._before = None

    def largest(self, number: int) -> int:
        """number: 0 or more, and not less than at the call before."""
        if self._alone:
            return number
        asked = jax.make_array_from_process_local_data(self._split, np.full(self._here, number, np.int32))
        before, self._before = self._before, self._maximum(asked)
        return 0 if before is None else int(jax.device_get(before))
