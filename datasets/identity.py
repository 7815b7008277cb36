"""Says what a source is, whatever its path: its classes, how many images each has, and digests of which they are.

Two sources of equal identity give the same training, record by record. Images are told apart by their names below the
source's folder and their sizes, or, where they lie in memory, by their content: each source says in `record_names`.
"""

import hashlib
import os

_NAMED = 3  # changes that a message lists


def identity(source) -> dict:
    """Identifies a source by what JSON can hold.

    Returns {"class_names": [...], "images": [count of each class], "classes": [16 hex digits for each class, of the
    names of its records in their order], "records": 16 hex digits, of the names and labels of all records in order}.
    The digest of a class depends neither on its name nor on that of the folder which holds all of its images.

    Example:
        >>> from geodesic import datasets
        >>> identity(datasets.build("orl_faces", classes=(3, 5)))["images"]
        [10, 10]
    """
    names, labels = source.record_names(), source.labels.tolist()
    of_class = [[] for _ in source.class_names]
    for name, label in zip(names, labels, strict=True):
        of_class[label].append(name)
    return {"class_names": list(source.class_names), "images": [len(found) for found in of_class],
            "classes": [_digest(_below_their_folder(found)) for found in of_class],
            "records": _digest(f"{label} {name}" for name, label in zip(names, labels, strict=True))}


def changes(before: dict, now: dict) -> str:
    """Says in one clause what has changed between two identities, naming the first three things; "" for nothing.

    Example:
        >>> before = {"class_names": ["ant", "bee"], "images": [2, 2], "classes": ["1a", "2b"], "records": "3c"}
        >>> changes(before, before | {"class_names": ["ant", "wasp"], "classes": ["4d", "2b"], "records": "5e"})
        "class 'wasp' was called 'bee', the images of class 'ant' are others"
    """
    there, here = (dict(zip(one["class_names"], zip(one["classes"], one["images"], strict=True), strict=True))
                   for one in (before, now))
    left = [name for name in there if here.get(name) != there[name]]
    new, renamed, others = [], [], []
    for name in (name for name in here if there.get(name) != here[name]):
        old = next((old for old in left if there[old] == here[name]), None)
        if old is not None:
            left.remove(old)
            renamed.append(f"class {name!r} was called {old!r}")
        elif name in there:
            (_, was), (_, count) = there[name], here[name]
            others.append(f"the images of class {name!r} are others"
                          + (f" ({was:,} then, {count:,} now)" if was != count else ""))
        else:
            new.append(f"class {name!r} is new")
    found = [*new, *(f"class {name!r} is gone" for name in left if name not in here), *renamed, *others]
    if found:
        more = len(found) - _NAMED
        return ", ".join(found[:_NAMED]) + (f" and {more:,} more change{'s' * (more > 1)}" if more > 0 else "")
    if before["class_names"] != now["class_names"]:
        return "the order of the classes has changed"
    return "the order of the images has changed, or their folders" if before["records"] != now["records"] else ""


def _below_their_folder(names: list[str]) -> list[str]:
    """The names without the folder that they have in common."""
    folder = os.path.commonpath({os.path.dirname(name) for name in names}) if names else ""
    return [name.removeprefix(f"{folder}/") for name in names]


def _digest(lines) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
