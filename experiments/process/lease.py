"""One run at a time in a workdir of a bucket: a lease, as there is no lock that ends with its process.

`.lock/NUMBER` says who has it and is written again every RENEWAL seconds. The highest number counts. Who takes a
workdir over writes the next number, which one alone can; who has lost it so ends at its next renewal. Nothing is
decided by comparing clocks: a lease is taken over once nothing of it has changed for SILENCE seconds before one's eyes,
and at once where its process was on this machine and is no more.
"""

import contextlib
import errno
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable

import psutil

from geodesic.errors import UserError
from geodesic.experiments.process import storage
from geodesic.experiments.process import workdir as workdirs

RENEWAL, SILENCE = 10.0, 60.0
_LOOK = 1.0  # seconds from one look to the next
# (place, number, id) of what this process holds.
_held: list[tuple[str, int, str]] = []


@contextlib.contextmanager
def held(folder: str, give_up: Callable[[], bool] | None = None):
    """Holds the lease of a workdir: True. Raises UserError, naming the holder, where another process renews it.

    give_up: in place of that it is asked again and again, while there is a holder; once it says True nothing is held:
    False.
    """
    place, me = f"{folder}/{workdirs.LOCK}", {**_process(), "id": secrets.token_hex(8)}
    number, ended = _taken(folder, place, me, give_up), threading.Event()
    if not number:
        yield False
        return
    thread = threading.Thread(target=_renew, args=(folder, place, number, me, ended), daemon=True, name="lease")
    thread.start()
    _held.append((place, number, me["id"]))
    try:
        yield True
    finally:
        _held.remove((place, number, me["id"]))
        ended.set()
        thread.join(RENEWAL)
        with contextlib.suppress(OSError):
            if _holder(place) == (number, me["id"]):
                storage.remove(_path(place, number))


def check() -> None:
    """Comes before a checkpoint is committed. Raises OSError where a lease of this process was taken over."""
    for place, number, name in _held:
        if _holder(place) != (number, name):
            raise PermissionError(errno.EACCES, "another run has taken it over", place)


def is_held(folder: str) -> bool:
    """Whether a lease was renewed lately, by this machine's clock."""
    with contextlib.suppress(OSError, ValueError):
        place = f"{folder}/{workdirs.LOCK}"
        number = _highest(place)
        return number > 0 and time.time() - storage.changed(_path(place, number)) < SILENCE
    return False


def _taken(folder: str, place: str, me: dict, give_up: Callable[[], bool] | None) -> int:
    """The number of the lease that is now ours, 0 where it was given up. Waits for a word of whoever has it."""
    seen, since = None, 0.0
    while True:
        number = _highest(place)
        there = _read(place, number) if number else b""
        if not number or _has_ended(there) or (there == seen and time.monotonic() - since > SILENCE):
            if storage.create(_path(place, number + 1), _content(me)):
                for other in range(1, number + 1):
                    storage.remove(_path(place, other))
                return number + 1
            seen = None
        elif give_up is not None and give_up():
            return 0
        elif seen is None:
            seen, since = there, time.monotonic()
            print(f"{folder} is {_owner(there)}'s; it is taken over if {SILENCE:.0f} s pass without a word of that",
                  flush=True)
        elif there != seen and give_up is not None:
            seen, since = there, time.monotonic()
        elif there != seen:
            raise UserError(f"{folder} is in use by {_owner(there)}: a second run there would destroy it. Wait for it "
                            f"to end, or give another --workdir")
        time.sleep(_LOOK)


def _renew(folder: str, place: str, number: int, me: dict, ended: threading.Event) -> None:
    while not ended.wait(RENEWAL):
        with contextlib.suppress(OSError):  # lost for minutes: others wait too
            holder = _holder(place)
            if holder == (number, me["id"]):
                storage.write(_path(place, number), _content(me))
            elif not ended.is_set():
                print(f"error: {folder} was taken over by {_owner(_read(place, _highest(place)))} while this run said "
                      f"nothing for more than {SILENCE:.0f} s: it ends here", file=sys.__stderr__, flush=True)
                os._exit(1)


def _path(place: str, number: int) -> str:
    return f"{place}/{number:06}"


def _highest(place: str) -> int:
    """The number of the lease that counts, 0 where there is none."""
    return max((int(name) for name in storage.names(place) if name.isdigit()), default=0)


def _read(place: str, number: int) -> bytes:
    try:
        return storage.read(_path(place, number))
    except FileNotFoundError:  # between the list and this
        return b""


def _holder(place: str) -> tuple[int, str]:
    number = _highest(place)
    return number, _values(_read(place, number)).get("id", "") if number else ""


def _content(me: dict) -> bytes:
    return json.dumps({**me, "time": time.time()}).encode()


def _values(content: bytes) -> dict:
    try:
        return dict(json.loads(content))
    except (ValueError, TypeError):
        return {}


def _owner(content: bytes) -> str:
    values = _values(content)
    return f"process {values['process']} on {values['host']}" if "process" in values else "another process"


def _process() -> dict:
    """This process, so that no other one is taken for it: containers count their processes each on their own."""
    try:
        machine = [open("/proc/sys/kernel/random/boot_id").read().strip(), os.readlink("/proc/self/ns/pid")]
    except OSError:  # not Linux
        machine = None
    return {"process": os.getpid(), "host": socket.gethostname(), "machine": machine,
            "started": psutil.Process().create_time()}


def _has_ended(content: bytes) -> bool:
    """Whether it is of a process of this machine that is no more."""
    there, here = _values(content), _process()
    if not there.get("machine") or there["machine"] != here["machine"]:
        return False
    try:
        return abs(psutil.Process(there["process"]).create_time() - there["started"]) > 1
    except psutil.NoSuchProcess:
        return True
