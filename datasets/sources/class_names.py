"""What is to be said of the names that classes have."""

import unicodedata

_LISTED = 5  # names that a remark has
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))  # letters that nobody sees


def remarks(names: list[str]) -> list[str]:
    """Lines on classes whose names a reader may take for one, and on names of several lines.

    Example:
        >>> remarks(["Ann", "ann", "bob"])
        ["classes whose names differ in capitals, blanks or Unicode form alone: 'Ann' and 'ann'"]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        seen = unicodedata.normalize("NFKC", name.translate(_UNSEEN)).casefold()
        groups.setdefault(" ".join(seen.split()), []).append(name)
    alike = [group for group in groups.values() if len(group) > 1]
    broken = [name for name in names if "\n" in name or "\r" in name]
    first = ", ".join(" and ".join(map(repr, group)) for group in alike[:_LISTED])
    result = [f"classes whose names differ in capitals, blanks or Unicode form alone: {first}"] if alike else []
    result += [f"{len(broken):,} class(es) have a line break in their name, the first {broken[0]!r}"] if broken else []
    return result

