"""The sources of a configuration."""

import jax

import datasets


def train_source(config) -> datasets.Source:
    """Raises ValueError where a label has no prototype."""
    source = _build(config.train_data)
    check_labels(source, config.loss.num_classes or source.num_classes)
    return source


def test_source(config) -> datasets.Source:
    return _build(config.test_data)


def _build(data) -> datasets.Source:
    return datasets.build(data.name, path=data.path, classes=data.classes)


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
