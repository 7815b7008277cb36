"""The sources of a configuration."""

import concurrent.futures

import jax
import numpy as np

import datasets


def train_source(config) -> datasets.Source:
    """Raises ValueError where a label has no prototype, and where more images are unreadable than may be."""
    source = _build(config.train_data)
    if config.invalid_data_tolerance_percent:
        source = readable(source, config.invalid_data_tolerance_percent)
    check_labels(source, config.loss.num_classes or source.num_classes)
    return source


def test_source(config) -> datasets.Source:
    return _build(config.test_data)


def _build(data) -> datasets.Source:
    return datasets.build(data.name, path=data.path, classes=data.classes)


class Records:
    """The records of `source` at these places, with the same classes."""

    def __init__(self, source: datasets.Source, places: np.ndarray):
        self._source, self._places = source, places
        self.labels, self.num_classes, self.class_names = source.labels[places], source.num_classes, source.class_names
        self.paths = [source.paths[place] for place in places]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict:
        return self._source[self._places[index]]


def readable(source: datasets.Source, tolerance_percent: float) -> datasets.Source:
    """The source without the images that cannot be read, found by reading all of them.

    Raises ValueError, naming the first few, where they are more than `tolerance_percent` of all.
    """

    def problem(index: int) -> str:
        try:
            datasets.decode(source[index])
        except (ValueError, OSError) as error:
            return str(error)
        return ""

    with concurrent.futures.ThreadPoolExecutor() as pool:
        problems = list(pool.map(problem, range(len(source))))
    bad = [text for text in problems if text]
    if 100 * len(bad) > tolerance_percent * len(source):
        raise ValueError(f"{len(bad)} of {len(source)} training images cannot be read, more than "
                         f"invalid_data_tolerance_percent {tolerance_percent:g}: {'; '.join(bad[:3])}")
    for text in bad:
        print(f"left out of the training: {text}", flush=True)
    return Records(source, np.flatnonzero([not text for text in problems])) if bad else source


def describe(options) -> str:
    start, stop = options.classes
    return f"{options.name}{options.path and ' ' + options.path}, classes {start}..{stop - 1 if stop else 'last'}"


def credit(options) -> str:
    """Who is to be thanked for the images, or ""."""
    return datasets.CREDITS[options.name] if options.name in datasets.CREDITS else ""


def check_labels(source: datasets.Source, num_classes: int) -> None:
    """Raises ValueError, naming the record, for a label outside 0..num_classes-1: indexing would clip it in silence."""
    bad = ((source.labels < 0) | (source.labels >= num_classes)).nonzero()[0]
    if len(bad):
        first = int(bad[0])
        raise ValueError(f"label {source.labels[first]} of {source[first]['path']} is out of range for "
                         f"{num_classes} classes ({len(bad)} such records): set loss.num_classes to at least "
                         f"{int(source.labels.max()) + 1}, or 0 to take it from the data")


def processes() -> dict[str, int]:
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}
