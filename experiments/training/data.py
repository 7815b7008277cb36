"""The sources of a configuration, and the batches that a run trains on."""


import jax
import numpy as np
from jax.experimental import multihost_utils

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import hosts

# How long hosts may disagree on how many images are bad: a gather of a few numbers is not for every step.
_AGREE_EVERY_STEPS = 50


def train_source(config) -> datasets.Source:
    """What a run learns from. Raises UserError where a label has no prototype."""
    source = datasets.build(**config.train_data)
    check_labels(source, num_classes(config, source))
    return source


def test_source(config) -> datasets.Source:
    """What a run is watched and measured on."""
    return datasets.build(**config.test_data)


def check_kinds(config) -> None:
    """Raises UserError where the test data were left at a source that finds itself, and the training data are others:
    the scores would be of images that nobody has asked for. It does so too where `check_split` does.
    """
    check_split(config)
    train, test = config.train_data, config.test_data
    if test.name in datasets.FIND_THEMSELVES and not test.path and test.name != train.name:
        raise UserError(f"the training data are {train.name} {train.path}, and the test data were left at {test.name}: "
                        f"give --config.test_data.name={train.name} --config.test_data.path=..., and the classes "
                        f"--config.test_data.classes='(0,0)' for all of it (or, where {test.name} is meant, its path)")


def check_split(config) -> None:
    """Raises UserError where one section splits what the other reads otherwise: they would have images in common."""
    train, test = config.train_data, config.test_data
    if not (train.test_share or test.test_share) or (train.name, train.path) != (test.name, test.path):
        return
    wanted = {field: train[field] for field in ("classes", "test_share", "split_by", "split_seed")}
    wanted |= {"part": "test" if train.part == "train" else "train"}
    other = [field for field, value in wanted.items() if test[field] != value]
    if other:
        given = " ".join(f"--config.test_data.{field}={str(wanted[field]).replace(' ', '')}" for field in other)
        raise UserError(f"train_data and test_data read the same {train.name} {train.path}".rstrip() + ", and do not "
                        f"split it alike: they would have images in common. Give {given}")


def check_two_classes(config, source: datasets.Source) -> None:
    """Raises UserError for training data of one class: every loss tells classes apart, and would be 0.

    A number of classes given by hand says that this is known; a line warns of it.
    """
    if len(np.unique(source.labels)) > 1:
        return
    label = int(source.labels[0])
    what = (f"all {len(source):,} training images ({config.train_data.name} {config.train_data.path}".rstrip()
            + f") are of one class, {source.class_names[label]!r}: there is nothing to tell it from")
    if config.loss.num_classes < 2:
        raise UserError(f"{what}. A class of a folder is a sub-folder of it: is the path one level off? With "
                        f"--config.loss.num_classes=N, N above 1, it trains all the same")
    print(f"warning: {what}", flush=True)


def num_classes(config, source: datasets.Source) -> int:
    """How many classes the loss has: as configured, or as many as the training data."""
    return config.loss.num_classes or source.num_classes


class CountedBatches:
    """This host's batches, {"image", "label"}: an iterator that counts the images it had to replace, on all hosts.

    Its state holds which they are. `get_state` is called by all hosts at the same step. TAGS: whether they have those
    of the images, of several classes each, too.
    """

    TAGS = False

    def __init__(self, source: datasets.Source, config):
        self._batches = self._make(source, config)
        self._source, self._tolerance = source, config.invalid_data_tolerance_percent
        self._bad: set[int] = set()

    def _make(self, source: datasets.Source, config):
        """The batches that are counted; a task with others has its own."""
        return datasets.train_batches(
            source, input=config.input, augment=config.augment, sampling=config.sampling, batch_size=config.batch_size,
            parts=config.accumulation_steps, seed=config.seed, tolerance_percent=config.invalid_data_tolerance_percent,
            threads=config.run.loader_threads, workers=config.run.loader_workers, buffer=config.run.loader_buffer,
            tags=self.TAGS, **hosts.share())

    def __next__(self) -> dict[str, np.ndarray]:
        batch = dict(next(self._batches))
        replaced = batch.pop("replaced")
        new = {int(index) for index in replaced[replaced >= 0]} - self._bad
        for index in sorted(new):
            print(f"replaced in the training: {datasets.problem(self._source, index)}", flush=True)
        self._bad |= new
        if self._tolerance and self._batches.get_state()["step"] % _AGREE_EVERY_STEPS == 0:
            self._agree()
        elif jax.process_count() == 1:  # of many hosts none may stop while the others go on
            self._check()
        return batch

    def bad_images(self) -> list[str]:
        """A line for each image that could not be read so far."""
        return [datasets.problem(self._source, index) for index in sorted(self._bad)]

    def get_state(self) -> dict:
        if self._tolerance:
            self._agree()
        return {**self._batches.get_state(), "bad": sorted(self._bad)}

    def set_state(self, state: dict) -> None:
        self._batches.set_state(state)
        self._bad = {*state["bad"]}

    def close(self) -> None:
        self._batches.close()

    def _agree(self) -> None:
        """Every host learns what the others have found, and raises as `_check` does."""
        if jax.process_count() > 1:
            with jax.transfer_guard("allow"):
                most = int(multihost_utils.process_allgather(np.int32(len(self._bad))).max())
                mine = np.full(most, -1, np.int32)
                mine[:len(self._bad)] = sorted(self._bad)
                self._bad = {int(index) for index in np.unique(multihost_utils.process_allgather(mine))} - {-1}
        self._check()

    def _check(self) -> None:
        """Raises UserError, with their list, where more images are bad than may be."""
        if 100 * len(self._bad) > self._tolerance * len(self._source):
            lines = self.bad_images()
            raise UserError(f"{len(lines)} of {len(self._source)} training images cannot be read, more than "
                            f"invalid_data_tolerance_percent {self._tolerance:g}: {'; '.join(lines)}")


class BoxBatches(CountedBatches):
    """This host's batches of images with boxes, {"image", "boxes", "classes", "num_boxes"}."""

    def _make(self, source: datasets.Source, config):
        return datasets.detection_batches(
            source, input=config.input, augment=config.box_augment, detection=config.detection,
            batch_size=config.batch_size, parts=config.accumulation_steps, seed=config.seed,
            tolerance_percent=config.invalid_data_tolerance_percent, threads=config.run.loader_threads,
            workers=config.run.loader_workers, buffer=config.run.loader_buffer, **hosts.share())


def describe(options) -> str:
    start, stop = options.classes
    fold = f", {options.part} of fold {options.fold} of {options.folds}" if options.folds else ""
    if options.test_share:
        fold = (f", the {options.part} part of a split: {options.test_share:g} of the {options.split_by} for testing, "
                f"seed {options.split_seed}")
    return f"{options.name}{options.path and ' ' + options.path}, classes {start}..{stop - 1 if stop else 'last'}{fold}"


def credit(options) -> str:
    """Who is to be thanked for the images, or ""."""
    return datasets.CREDITS[options.name] if options.name in datasets.CREDITS else ""


def check_labels(source: datasets.Source, num_classes: int) -> None:
    """Raises UserError, naming the record, for a label outside 0..num_classes-1: indexing would clip it in silence."""
    bad = ((source.labels < 0) | (source.labels >= num_classes)).nonzero()[0]
    if len(bad):
        first = int(bad[0])
        raise UserError(f"label {source.labels[first]} of {source[first]['path']} is out of range for "
                        f"{num_classes} classes ({len(bad)} such records): set loss.num_classes to at least "
                        f"{int(source.labels.max()) + 1}, or 0 to take it from the data")
