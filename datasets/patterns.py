"""Patterns that stand for several paths: shards-{000..127}.tar, {a,b}.parquet."""

import itertools
import re

from ..errors import UserError

_SEVERAL = re.compile(r"\{([^{}]*)\}")
_NUMBERS = re.compile(r"([0-9]+)\.\.([0-9]+)")
_MOST = 1_000_000  # files that a pattern may stand for


def expand(pattern: str) -> list[str]:
    """The paths that a pattern stands for: {07..12} for numbers, as wide as the first, {a,b} for words.

    Example:
        >>> expand("s-{08..10}.tar"), expand("{a,b}/{1..2}")
        (['s-08.tar', 's-09.tar', 's-10.tar'], ['a/1', 'a/2', 'b/1', 'b/2'])
    """
    parts, place = [], 0
    for found in _SEVERAL.finditer(pattern):
        numbers = _NUMBERS.fullmatch(found[1])
        if not numbers and "," not in found[1]:
            continue
        first, last = map(int, numbers.groups()) if numbers else (0, 0)
        if not 0 <= last - first < _MOST:
            raise UserError(f"{pattern!r} stands for numbers {first} to {last}: expected at most {_MOST:,}, rising")
        numbered = (f"{number:0{len(numbers[1])}}" for number in range(first, last + 1)) if numbers else ()
        parts += [[pattern[place:found.start()]], list(numbered) or found[1].split(",")]
        place = found.end()
    return ["".join(words) for words in itertools.product(*parts, [pattern[place:]])]
