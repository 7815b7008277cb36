"""Says which record stands at which place of the endless training order: a pure function of (seed, place).

Neither hosts, devices, loader threads nor workers appear here, so none of them can change it.
"""

import functools

import numpy as np

from ..errors import UserError

SAMPLINGS = ("uniform", "pk")


def make(labels: np.ndarray, seed: int, batch_size: int, options, parts: int = 1):
    """Makes the order in which records are trained on: an object whose `record(place)` is the record at a place.

    Args:
        labels: i64[N], of the records.
        seed: what the order is drawn from.
        batch_size: records of a batch over all processes; batch b holds the places from b * batch_size on.
        options: the section `sampling` of a configuration, or an object with its attributes.
        parts: accumulation steps that a batch is cut into, each batch_size / parts places one after the other.

    Raises UserError for a sampling that there is not, or that these labels do not allow.

    Example:
        >>> import types
        >>> made = make(np.array([0, 1, 1, 0]), 0, 2, types.SimpleNamespace(name="uniform"))
        >>> sorted(made.record(place) for place in range(4))
        [0, 1, 2, 3]
    """
    if options.name == "uniform":
        return Uniform(len(labels), seed)
    if options.name == "pk":
        return ClassesByImages(labels, seed, batch_size, options.images_per_class, parts)
    raise UserError(f"sampling.name is {' or '.join(SAMPLINGS)}; got {options.name!r}")


class Uniform:
    """The order in which each epoch is a new permutation of all records. A batch may span two epochs.

    A permutation of more than `computed_above` records is computed place by place, and never held: of 10^9 records it
    would be 8 GB in every process and loader worker.
    """

    def __init__(self, length: int, seed: int, computed_above: int = 2 ** 24):
        self._length, self._seed = length, seed
        self._permutation = Permutation if length > computed_above else _permutation

    def record(self, place: int) -> int:
        """Says which record stands at a place of the endless order."""
        epoch, place = divmod(place, self._length)
        return int(self._permutation(self._seed, epoch, self._length)[place])


class ClassesByImages:
    """The order in which each batch holds P classes and K images of each: P = batch_size / K.

    A pass is as many batches as it takes to show every image at least once. In a pass the images of a class are
    shuffled and cut into groups of K; the last group is filled up from the first images of its class, and a class of
    fewer than K images repeats them (every appearance is another view). The groups are dealt out so that no batch
    has a class twice; batches that are then short of P classes get further groups of random other classes. A class
    with many more images than the others so makes the pass longer, and the others are seen more often in it.

    Of a batch that is cut into parts, each part has P / parts whole classes, because a loss of pairs finds an image's
    positives in its own part. Where the parts do not divide P, a class that lies across a border is in two of them.
    """

    def __init__(self, labels: np.ndarray, seed: int, batch_size: int, images_per_class: int, parts: int = 1):
        """Raises UserError where such batches cannot be had."""
        if images_per_class < 1 or batch_size % images_per_class:
            raise UserError(f"sampling.images_per_class {images_per_class} does not divide batch_size {batch_size}")
        if parts < 1 or batch_size % parts:
            raise UserError(f"batch_size {batch_size} does not divide into {parts} accumulation steps")
        self._labels, self._seed, self._batch_size, self._images = labels, seed, batch_size, images_per_class
        self._parts = parts
        counts = np.bincount(labels)
        counts, classes = counts[counts > 0], batch_size // images_per_class
        if len(counts) < classes:
            raise UserError(f"batches of {classes} classes x {images_per_class} images asked of training data that "
                            f"has {len(counts)} classes: lower batch_size or raise sampling.images_per_class")
        groups = -(-counts // images_per_class)
        self.batches_per_pass = int(max(-(-groups.sum() // classes), groups.max()))

    def record(self, place: int) -> int:
        """Says which record stands at a place of the endless order."""
        batch, row = divmod(place, self._batch_size)
        which, batch = divmod(batch, self.batches_per_pass)
        return int(self._pass(which)[batch, row])

    @functools.lru_cache(maxsize=2)  # noqa: B019  # the loader, its one owner, lives as long as the run
    def _pass(self, which: int) -> np.ndarray:
        """Lays out a pass: its records, i64[batches, batch_size]."""
        rng = np.random.default_rng((self._seed, 2, which))
        shuffled = np.lexsort((rng.random(len(self._labels)), self._labels))  # by class, in random order within it
        counts = np.bincount(self._labels)
        present = rng.permutation(np.flatnonzero(counts))
        starts = np.concatenate([[0], np.cumsum(counts)])[present]
        counts = counts[present]
        groups = -(-counts // self._images)
        # Group g of all is the `turn`th of its class; classes lie side by side, so dealing them out parts them.
        of_class = np.repeat(np.arange(len(present)), groups)
        turn = np.arange(groups.sum()) - np.repeat(np.cumsum(groups) - groups, groups)
        table = self._deal(of_class, turn, len(present), rng)
        class_of, turn_of = table[..., 0:1], table[..., 1:2]
        image = (turn_of * self._images + np.arange(self._images)) % counts[class_of]
        records = shuffled[starts[class_of] + image].reshape(-1, self._batch_size // self._parts)
        # Devices take neighbouring rows; local BatchNorm is not to see a class or two alone.
        return rng.permuted(records, axis=1).reshape(self.batches_per_pass, self._batch_size)

    def _deal(self, of_class: np.ndarray, turn: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
        """Deals the groups out: (class, turn) of each, i64[batches, P, 2], filled up to P classes in every batch."""
        batches, width = self.batches_per_pass, self._batch_size // self._images
        table = np.full((batches, width, 2), -1, np.int64)
        group = np.arange(len(of_class))
        table[group % batches, group // batches] = np.stack([of_class, turn], axis=1)
        for batch in np.flatnonzero((table[:, :, 0] < 0).any(axis=1)):
            free = np.flatnonzero(table[batch, :, 0] < 0)
            taken = {*table[batch, :, 0].tolist()}
            for slot in free:
                candidate = int(rng.integers(classes))
                while candidate in taken:
                    candidate = (candidate + 1) % classes
                taken.add(candidate)
                table[batch, slot] = candidate, rng.integers(2 ** 31)  # any of its images: taken modulo their number
        return table[rng.permutation(batches)]


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(length)


class Permutation:
    """A permutation of 0..length-1 of which nothing is held: `permutation[place]` is computed.

    A Feistel network (Luby and Rackoff, "How to construct pseudorandom permutations from pseudorandom functions", 1988)
    permutes the numbers of as many bits as `length` needs; what falls beyond `length` is permuted again until it does
    not. grain's own shuffle of this kind leaves neighbours near each other: of 10^9 records, one and the next correlate
    by .55, and a batch of images sorted by class would see few classes.

    Example:
        >>> permutation = Permutation(0, 0, 5)
        >>> sorted(permutation[place] for place in range(5))
        [0, 1, 2, 3, 4]
    """

    _ROUNDS = 6  # an even number, after which the two halves of a number are where they were

    def __init__(self, seed: int, epoch: int, length: int):
        self._length = length
        self._keys = np.random.default_rng((seed, 0, epoch)).integers(2 ** 63, size=self._ROUNDS).tolist()
        bits = max((length - 1).bit_length(), 2)
        self._low, self._high = bits // 2, bits - bits // 2

    def __getitem__(self, place: int) -> int:
        value = self._shuffled(place)
        while value >= self._length:
            value = self._shuffled(value)
        return value

    def _shuffled(self, value: int) -> int:
        low, high = self._low, self._high
        for key in self._keys:
            right, left = value & ((1 << low) - 1), value >> low
            value = (right << high) | (left ^ (_mixed(right ^ key) & ((1 << high) - 1)))
            low, high = high, low
        return value


def _mixed(x: int) -> int:
    """64 bits to 64 bits: the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return x ^ (x >> 31)
