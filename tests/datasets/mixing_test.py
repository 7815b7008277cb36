"""Against torchvision's own: goldens/policies.py."""

import pickle
import types

import numpy as np
import pytest

from geodesic import datasets
from geodesic.configs import default
from geodesic.datasets import mixing
from geodesic.errors import UserError
from tests.datasets import goldens
from tests.datasets.batches_test import Damaged, Numbered, train_batches

GOLDEN = goldens.load("policies")


def test_boxes_and_weights_are_torchvisions():
    for height, width, weight, x, y, *box, left in GOLDEN["boxes"].tolist():
        height, width, x, y = int(height), int(width), int(x), int(y)
        assert mixing.cutmix_box(height, width, weight, x, y) == tuple(box)
        one, other = np.zeros((height, width, 3), np.uint8), np.ones((height, width, 3), np.uint8)
        image, share = mixing.cutmix(one, other, weight, (x + 0.5) / width, (y + 0.5) / height)
        assert share == pytest.approx(left, abs=1e-12) == pytest.approx(1 - image.mean(), abs=1e-12)
        assert not one.any()


def test_mixup_is_torchvisions_rounded():
    ours = mixing.mixup(GOLDEN["image"], GOLDEN["image"][::-1], 0.3)
    assert np.abs(ours - GOLDEN["mixup/image"]).max() <= 0.501
    np.testing.assert_allclose(GOLDEN["mixup/target"], [0, 0.7, 0.3], atol=1e-6)  # of the classes 2 and 1


def options(**values):
    return types.SimpleNamespace(**{"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "mix_probability": 1.0} | values)


def example(value):
    return {"image": np.full((16, 16, 3), value, np.uint8), "label": np.int32(value), "replaced": np.int64(-1)}


@pytest.mark.parametrize(("values", "mixups", "cutmixes"), [
    ({"mixup_alpha": 0.2}, 1, 0), ({"cutmix_alpha": 1.0}, 0, 1), ({"mixup_alpha": 0.2, "cutmix_alpha": 1.0}, 0.5, 0.5),
    ({"mixup_alpha": 0.2, "cutmix_alpha": 1.0, "mix_probability": 0.4}, 0.2, 0.2)])
def test_what_is_mixed_how_often_and_with_which_weights(values, mixups, cutmixes):
    made = [mixing.mixed(example(0), example(200), np.random.default_rng(seed), options(**values))
            for seed in range(1000)]
    weights = np.array([float(one["label_weight"]) for one in made])
    flat = np.array([(one["image"] == one["image"][0, 0]).all() for one in made])  # a cutmix may have an empty box, too
    np.testing.assert_allclose([1 - one["image"].mean() / 200 for one in made], weights, atol=0.5 / 200 + 1e-6)
    assert np.mean(~flat) == pytest.approx(cutmixes, abs=0.06)
    assert np.mean(weights < 1) == pytest.approx(mixups + cutmixes, abs=0.06)
    if mixups == 1:  # Beta(a, a) has the variance 1 / (4 (2a + 1))
        assert (weights.mean(), weights.var()) == pytest.approx((0.5, 1 / 5.6), abs=0.03)
    assert {(int(one["label"]), int(one["other_label"])) for one in made} == {(0, 200)}
    assert made[0]["label_weight"].dtype == np.float32 and made[0]["other_label"].dtype == np.int32


@pytest.mark.parametrize("size", [2, 3, 4, 7, 8])
def test_partners_are_of_the_same_part_and_never_itself(size):
    for place in range(3 * size):
        other = mixing.partner(place, size)
        assert other != place and other // size == place // size


def test_the_two_of_a_pair_are_made_once():
    made, recent = [], mixing.LastTwo()
    for place in range(8):
        for key in place, mixing.partner(place, 4):
            recent.get(key, lambda key: made.append(key) or key)
    assert made == [*range(8)]
    assert pickle.loads(pickle.dumps(recent)).get(0, lambda key: "new") == "new"


@pytest.fixture
def config():
    config = default.get_config()
    config.batch_size, config.input.image_size = 8, 8
    config.augment.update(mixup_alpha=1.0, cutmix_alpha=1.0, mix_probability=0.8, brightness=0.2, rotation=10.0)
    return config


def taken(config, steps, source=None, **options):
    made = train_batches(source or Numbered(20), config, **options)
    batches = [next(made) for _ in range(steps)]
    made.close()
    return batches


def assert_equal(ours, theirs):
    for batch, other in zip(ours, theirs, strict=True):
        assert {*batch} == {*other} == {"image", "label", "replaced", "other_label", "label_weight"}
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key], err_msg=key)


@pytest.mark.parametrize("hosts", [2, 4, 8])
@pytest.mark.parametrize("parts", [1, 2])
def test_all_hosts_together_see_the_batch_of_one(config, hosts, parts):
    config.batch_size = 16  # on eight hosts with two parts, no pair is on one of them
    whole = taken(config, 4, parts=parts)
    cut = [taken(config, 4, parts=parts, process_index=host, process_count=hosts) for host in range(hosts)]
    split = lambda values, parts: values.reshape(parts, -1, *values.shape[1:])
    together = [{key: np.concatenate([split(host[step][key], parts) for host in cut], axis=1).reshape(
        whole[step][key].shape) for key in whole[step]} for step in range(4)]
    assert_equal(together, whole)
    assert {0 < float(weight) < 1 for batch in whole for weight in batch["label_weight"]} == {True, False}


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 4}, {"workers": 1}, {"workers": 2}])
def test_batches_depend_on_no_threads_and_no_workers(config, options):
    assert_equal(taken(config, 5, **options), taken(config, 5, threads=0))


def test_it_goes_on_exactly(config):
    assert_equal(taken(config, 3, first_step=4), taken(config, 7)[4:])


def test_parts_are_mixed_within_themselves(config):
    """And one's partner is the other example's record, whatever the part: labels say so."""
    for batch in taken(config, 5, parts=2):
        labels, others = (batch[key].reshape(2, 4) for key in ("label", "other_label"))
        np.testing.assert_array_equal(others, labels[:, [1, 0, 3, 2]])


def test_pk_mixes_neighbours_of_a_shuffled_batch(config):
    config.sampling.update(name="pk", images_per_class=2)
    different = np.mean([(batch["label"] != batch["other_label"]).mean() for batch in taken(config, 50)])
    assert different == pytest.approx(6 / 7, abs=0.08)  # one of the seven others is of its class


def test_what_is_not_mixed_is_the_view_without_mixing(config):
    mixed = taken(config, 6)
    config.augment.update(mixup_alpha=0.0, cutmix_alpha=0.0)
    plain = taken(config, 6)
    kept = 0
    for batch, other in zip(mixed, plain, strict=True):
        assert "other_label" not in other
        np.testing.assert_array_equal(batch["label"], other["label"])
        for row in np.flatnonzero(batch["label_weight"] == 1):
            np.testing.assert_array_equal(batch["image"][row], other["image"][row])
            kept += 1
    assert kept >= 5


def test_a_partner_that_cannot_be_read_is_replaced_as_ever(config):
    config.invalid_data_tolerance_percent = 15.0
    source = Damaged(20, {3, 8, 19})
    whole = taken(config, 5, source)
    for batch, plain in zip(whole, taken(config, 5), strict=True):
        np.testing.assert_array_equal(batch["other_label"], plain["other_label"])
    assert any((batch["replaced"] >= 0).any() for batch in whole)


def test_refusals(config):
    with pytest.raises(UserError, match="take two images of an accumulation part, and batch_size 8 in 8 has one"):
        taken(config, 1, parts=8)
    for name, value, expected in (("mixup_alpha", -1.0, "at least 0; got -1"), ("mix_probability", 2.0, "0 to 1"),
                                  ("rand_augment_magnitude", 31, "0 to 30; got 31"), ("augmix_alpha", 0.0, "above 0"),
                                  ("augmix_severity", 11, "0 to 10; got 11"), ("augmix_chains", 0, "at least 1")):
        other = default.get_config()
        other.augment[name] = value
        with pytest.raises(UserError, match=f"augment.{name} is {expected}"):
            datasets.batches.transforms.check_options(other.input, other.augment)
