import itertools
import tracemalloc

import ml_collections
import numpy as np
import pytest

from geodesic.datasets import order


def make(labels, batch_size, images, seed=0, parts=1):
    options = ml_collections.ConfigDict({"name": "pk", "images_per_class": images})
    return order.make(np.asarray(labels), seed, batch_size, options, parts)


def batches(made, batch_size, count):
    return np.array([[made.record(batch * batch_size + row) for row in range(batch_size)] for batch in range(count)])


def random_labels(seed):
    """Classes of very different sizes, some of them single images, in no order."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, rng.integers(2, 30), rng.integers(8, 40))
    return rng.permutation(np.repeat(rng.permutation(100)[:len(sizes)], sizes))  # labels with gaps


@pytest.mark.parametrize("seed", range(30))
def test_classes_by_images_covers_everything_in_a_pass(seed):
    labels, rng = random_labels(seed), np.random.default_rng(seed)
    images, classes = int(rng.integers(1, 6)), int(rng.integers(1, 9))
    made = make(labels, images * classes, images, seed)
    table = batches(made, images * classes, 2 * made.batches_per_pass)
    for part in np.split(table, 2):
        assert {*part.ravel()} == {*range(len(labels))}  # every image, so every class
    for batch in table:
        found, counts = np.unique(labels[batch], return_counts=True)
        assert len(found) == classes and (counts == images).all()
        for label in found:  # no image twice in a batch, unless its class has fewer than K
            assert len({*batch[labels[batch] == label]}) == min(images, (labels == label).sum())


def test_a_pass_is_as_short_as_it_can_be():
    assert make(np.repeat(np.arange(12), 8), 16, 4).batches_per_pass == 6   # 24 groups, 4 in a batch
    assert make(np.repeat([0, 1, 2, 3, 4], [40, 1, 1, 1, 1]), 8, 4).batches_per_pass == 10  # the largest class alone


def test_passes_and_seeds_differ():
    labels = np.repeat(np.arange(12), 8)
    made = make(labels, 16, 4)
    first, second = np.split(batches(made, 16, 12), 2)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, batches(make(labels, 16, 4, seed=1), 16, 6))
    assert np.array_equal(first, batches(make(labels, 16, 4), 16, 6))


def test_rows_of_a_batch_are_mixed():
    """A device takes neighbouring rows: not all of one class."""
    labels = np.repeat(np.arange(12), 8)
    halves = labels[batches(make(labels, 16, 4), 16, 6)].reshape(-1, 4)
    assert np.mean([len({*part}) for part in halves]) > 2


def positives(labels, batch_size, images, parts):
    """The share of images that have all other images of their class in their part of the batch."""
    found = labels[batches(make(labels, batch_size, images, parts=parts), batch_size, 20)].reshape(20 * parts, -1)
    return np.mean((found[:, :, None] == found[:, None]).sum(-1) == images)


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_a_part_of_a_batch_has_whole_classes(parts):
    labels = np.repeat(np.arange(200), 20)
    assert positives(labels, 128, 4, parts) == 1
    rows = labels[batches(make(labels, 128, 4, parts=parts), 128, 20)].reshape(-1, 128 // parts)
    assert np.mean(rows[:, 1:] == rows[:, :-1]) < 0.25  # and they are mixed in it


def test_parts_that_do_not_divide_the_classes_tear_as_few_as_there_are_borders():
    shares = positives(np.repeat(np.arange(40), 6), 24, 4, 4)
    assert shares == pytest.approx(1 - 2 / 6)  # parts of 6 images of 6 classes: two classes are torn


def test_the_order_of_older_versions():
    """A run goes on with the data it would have had. These batches were drawn before there were parts."""
    made = make(np.repeat(np.arange(5), 4), 6, 2)
    assert batches(made, 6, 3).tolist() == [[10, 2, 7, 5, 1, 11], [17, 16, 13, 15, 0, 3], [18, 7, 14, 19, 5, 12]]


@pytest.mark.parametrize(("labels", "batch_size", "images", "message"), [
    ([0, 1], 8, 3, "images_per_class 3 does not divide batch_size 8"),
    ([0, 1], 8, 0, "images_per_class 0"),
    ([0, 1, 2], 8, 2, "4 classes x 2 images asked of training data that has 3 classes"),
])
def test_batches_that_cannot_be_had(labels, batch_size, images, message):
    with pytest.raises(ValueError, match=message):
        make(labels, batch_size, images)


def test_an_unknown_sampling():
    with pytest.raises(ValueError, match="uniform or pk; got 'balanced'"):
        order.make(np.arange(3), 0, 1, ml_collections.ConfigDict({"name": "balanced", "images_per_class": 1}))


def test_uniform_shows_each_image_once_an_epoch():
    made = order.Uniform(20, 0)
    epochs = np.array([made.record(place) for place in range(60)]).reshape(3, 20)
    assert (np.sort(epochs) == np.arange(20)).all() and not (epochs[0] == epochs[1]).all()


@pytest.mark.parametrize("length", [1, 2, 7, 1000])
def test_a_permutation_that_is_computed_is_one_and_another_each_epoch(length):
    made = order.Uniform(length, 3, computed_above=0)
    epochs = [[made.record(epoch * length + place) for place in range(length)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(length)) for epoch in epochs)
    assert [order.Uniform(length, 3, computed_above=0).record(place) for place in range(length)] == epochs[0]
    if length == 1000:
        others = [[order.Uniform(length, 4, computed_above=0).record(place) for place in range(length)], range(length)]
        for one, other in itertools.combinations([*epochs, *others], 2):
            assert sum(a == b for a, b in zip(one, other, strict=True)) < 10  # of independent ones: 1 on average


@pytest.mark.parametrize("length", [2 ** 20, 10 ** 6, 10 ** 9, 2 ** 30 - 5])
def test_what_follows_what_is_as_of_a_drawn_permutation(length):
    """What is near in the order is not near in the data: distances are those of independent draws."""
    made = order.Uniform(length, 0, computed_above=0)
    seen = np.array([made.record(place) for place in range(20_000)]) / length
    for apart in (1, 2, 3, 64):
        distances = np.abs(seen[apart:] - seen[:-apart])
        assert distances.mean() == pytest.approx(1 / 3, abs=0.01)
        assert np.quantile(distances, 0.01) == pytest.approx(0.005, abs=0.002)
        assert abs(np.corrcoef(seen[apart:], seen[:-apart])[0, 1]) < 0.03  # four deviations of 20,000 draws
    counts = np.bincount((seen * 16).astype(int), minlength=16)
    assert abs(counts - len(seen) / 16).max() < 5 * np.sqrt(len(seen) / 16)


def test_a_thousand_million_records_are_not_held():
    made, length = order.Uniform(10 ** 9, 0), 10 ** 9
    tracemalloc.start()
    found = {made.record(place) for place in range(0, length, length // 500)}
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 500 and max(found) > 0.9 * length and most < 10 ** 7 and held < 10 ** 7


def test_up_to_sixteen_million_records_the_order_is_as_ever():
    made = order.Uniform(1000, 5)
    assert [made.record(place) for place in range(1000)] == np.random.default_rng((5, 0, 0)).permutation(1000).tolist()
