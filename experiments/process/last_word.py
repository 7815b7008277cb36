"""The line with which a process of many ends because another one is lost, whoever notices first.

The main thread learns of it from an error of a collective. jax's own watch learns of it in a thread of its own, from
a connection that broke or a heartbeat that did not come; it then aborts the process (SIGABRT), at a moment at which
the main thread may be in the middle of its line. In both cases one line is written, and the status is the same.
"""

import ctypes
import os
import signal
import threading
import time

# EX_TEMPFAIL of sysexits.h: the same command again goes on.
STATUS = 75
_AGAIN = "Start all of them again: they go on from the last checkpoint"
_said = threading.Lock()
_handler = None  # what C calls must not be collected


def of_a_lost_peer(index: int, text: str) -> str:
    """The line. index: of this process. text: what was noticed."""
    return f"error: process {index} has lost another one, and ends ({text[:160]}). {_AGAIN}"


def say(line: str, status: int = STATUS) -> None:
    """Ends the process with the line, at once: leaving jax in the usual way would wait for the other processes."""
    if not _said.acquire(blocking=False):
        time.sleep(10)  # another thread is saying its own, and ends the process
    os.write(2, f"{line}\n".encode(errors="replace"))
    os._exit(status)


def watch_abort(line: str) -> None:
    """From now on an abort ends the process with this line.

    A handler of Python's `signal` would not do: it runs in the main thread, which hangs in a collective. C calls this
    one in the thread that aborts. It needs the interpreter, of which native code lets go while it waits; where it does
    not, the watchdog ends the process.
    """
    global _handler
    libc = ctypes.CDLL(None)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, kind), ctypes.c_void_p
    before, _handler = _handler, kind(lambda _: say(line))
    libc.signal(signal.SIGABRT, _handler)
    del before  # not until C no longer calls it
