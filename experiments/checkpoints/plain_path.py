"""Paths that the storage layer reads as they stand, whatever a folder is called.

orbax looks for its own files with patterns, in which brackets stand for a set of characters, and takes "gs:/" anywhere
for a bucket; tensorstore takes a backslash for a slash, and no name that is not UTF-8. Neither says so: what they save
is then lost, or lies in another folder. So they are given a link to such a folder, whose own path is plain.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator

from geodesic.errors import UserError

# Letters of any script, digits, and what was seen to be read as it stands. Others may be read as something else.
_PLAIN = re.compile(r"[\w/.,=+@#% -]*")


@contextlib.contextmanager
def of(folder: str) -> Iterator[str]:
    """The path of this folder, an absolute one, or, within the context, of a link to it where its own is not plain.

    Raises UserError as `check` does.
    """
    if _PLAIN.fullmatch(folder):
        yield folder
        return
    # Not for longer than it is needed: systems empty the folder of temporary files.
    with tempfile.TemporaryDirectory(prefix="geodesic-", dir=_place(folder)) as place:
        link = os.path.join(place, "folder")
        os.symlink(folder, link)
        yield link


def check(folder: str) -> None:
    """Raises UserError where this absolute path is not plain, and there is no place for a link to it."""
    if not _PLAIN.fullmatch(folder):
        _place(folder)


def _place(folder: str) -> str:
    places = (tempfile.gettempdir(), "/tmp", "/var/tmp")
    for place in places:
        if _PLAIN.fullmatch(place) and os.access(place, os.W_OK | os.X_OK):
            return place
    odd = "".join(sorted({*_PLAIN.sub("", folder)}))
    raise UserError(f"checkpoints cannot be stored in {folder!r} because of {odd!r}, and no link to it can be made in "
                    f"{', '.join(dict.fromkeys(places))}: choose another --workdir, or set TMPDIR to a folder")
