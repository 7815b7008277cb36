"""Numbers classes by the text of labels, as a manifest does."""

import numpy as np

from . import class_names, manifest


def number(labels: list[str], by_value: bool | None = None) -> tuple[list[str], np.ndarray, list[str]]:
    """(names of the classes in their order, i64[N], remarks): by value where all labels are numbers, else by text.

    by_value: what their column says of that, if it says it.

    Example:
        >>> names, labels, _ = number(["10", "9", "10"])
        >>> names, labels.tolist()
        (['9', '10'], [1, 0, 1])
    """
    kinds = {*labels}
    by_value = all(map(manifest._NUMBER.fullmatch, kinds)) if by_value is None else by_value
    names = manifest._ordered(kinds, by_value)
    places = {name: place for place, name in enumerate(names)}
    return names, np.array([places[label] for label in labels], np.int64), class_names.remarks(names)
