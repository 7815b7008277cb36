"""Requests to buckets (gs://, s3://), asked again while the connection is lost, with a line that says so.

Libraries for buckets are imported where one is named.
"""

import functools
import itertools
import os
import random
import threading
import time
from collections.abc import Callable

from .. import remote
from ..errors import UserError

TRIES = 10               # of a request; the pauses between them are four minutes in all
_LONGEST_PAUSE = 60.0    # seconds


class UnreachableError(UserError):
    """A bucket has not answered for minutes. No image is bad because of that: a loader ends, and shows no other one."""


def filesystem(path: str):
    """The fsspec file system of a bucket's path. Raises UserError for a scheme that is not read, or not installed."""
    return _filesystem(path.split("://", 1)[0], os.getpid())


@functools.cache
def _filesystem(scheme: str, process: int):
    if scheme not in remote.SCHEMES:
        known = ", ".join(f"{one}://" for one in remote.SCHEMES)
        raise UserError(f"{scheme}:// is not read: expected a folder or {known}")
    if needs := remote.missing(scheme):
        raise UserError(f"{scheme}:// {needs}")
    return remote.connect(scheme)


def attempt(action: Callable, path: str):
    """Does what asks a bucket, again and again while the connection is lost.

    Raises UnreachableError after TRIES; FileNotFoundError or UserError where asking again is of no use.
    """
    for number in itertools.count(1):
        try:
            return action()
        except Exception as error:
            _refuse(error, path)
            if number == TRIES:
                raise UnreachableError(f"{path} cannot be reached: {_said(error)}") from error
            pause = min(_LONGEST_PAUSE, 2.0 ** (number - 2)) * random.uniform(0.75, 1)
            print(f"{path} cannot be reached ({_said(error)}); trying again in {pause:.1f} s", flush=True)
            until = time.monotonic() + pause
            while time.monotonic() < until:
                if not threading.main_thread().is_alive():  # the program is over; its loader's threads hold it up
                    raise
                time.sleep(min(1.0, pause))


def _refuse(error: Exception, path: str) -> None:
    """Raises what does not get better by asking again."""
    code = _code(error)
    if isinstance(error, UserError | RuntimeError | TypeError | AttributeError | KeyError):  # defects, or the end
        raise error
    if is_missing(error):
        raise FileNotFoundError(f"no file {path!r}") from error
    if (isinstance(error, PermissionError | ValueError) or "Credentials" in type(error).__name__
            or (400 <= code < 500 and code not in (408, 429))):
        raise UserError(f"{path} is refused: {_said(error)}") from error


def is_missing(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError) or _code(error) == 404


def _code(error: Exception) -> int:
    code = getattr(error, "code", None) or getattr(error, "status", None)
    return code if isinstance(code, int) else 0


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
