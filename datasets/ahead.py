"""What a thread of the loader has read ahead of the records that it will ask for."""

import threading
from collections.abc import Hashable

from . import attempts, buckets


class Ahead:
    """Ranges of bytes that this thread has read at once. They do not travel to loader processes.

    Example:
        >>> ahead = Ahead()
        >>> ahead.read({}), ahead.get(3)
        (None, None)
    """

    def __init__(self):
        self._of_thread = threading.local()

    def read(self, ranges: dict[Hashable, tuple[buckets.File, int, int]]) -> None:
        """Reads ranges (file, start, bytes) by their keys, in place of those that this thread had read before.

        What cannot be read is not there: why, is found when it is read alone. Raises attempts.UnreachableError.
        """
        self._of_thread.content = {}
        try:
            content = buckets.read_each([*ranges.values()])
        except attempts.UnreachableError:
            raise
        except (ValueError, OSError):
            return
        self._of_thread.content = {key: one for key, one in zip(ranges, content, strict=True) if isinstance(one, bytes)}

    def get(self, key: Hashable) -> bytes | None:
        """What was read of a key, or None."""
        return getattr(self._of_thread, "content", {}).get(key)

    def __reduce__(self):
        return Ahead, ()
