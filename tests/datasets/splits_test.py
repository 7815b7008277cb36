import numpy as np
import pytest

from geodesic import datasets
from geodesic.datasets import source, splits
from geodesic.experiments.training import data
from tests.datasets import images
from tests.experiments import tiny

COUNTS = [1, 2, 5, 10, 40]


def files(root="photos", counts=COUNTS):
    """Classes of these sizes, their records mixed."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    names = [f"c{label}" for label in range(len(counts))]
    return source.Files([f"{root}/{names[label]}/{place}.jpg" for place, label in enumerate(labels)], labels, names)


def sides(of, share=0.2, by="images", seed=0):
    return [splits.split(of, share, by, seed, part) for part in splits.PARTS]


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("by", splits.BY)
def test_the_sides_are_disjoint_and_complete(share, by):
    train, test = sides(files(), share, by)
    assert not {*train.paths} & {*test.paths} and {*train.paths} | {*test.paths} == {*files().paths}
    assert len(train) + len(test) == len(files()) and len(train) and len(test)
    for side in (train, test):
        assert {*side.labels} == {*range(side.num_classes)}  # the classes of its own images, and no others
        assert [side.class_names[label] for label in side.labels] == [path.split("/")[1] for path in side.paths]


def test_every_class_gives_its_share():
    train, test = sides(files())
    assert [np.bincount(side.labels).tolist() for side in (train, test)] == [[1, 1, 4, 8, 32], [1, 1, 2, 8]]
    assert (train.class_names, test.class_names) == (["c0", "c1", "c2", "c3", "c4"], ["c1", "c2", "c3", "c4"])


def test_classes_are_whole_and_as_many_as_asked_for():
    train, test = sides(files(counts=[3] * 40), 0.25, "classes")
    assert (train.num_classes, test.num_classes) == (30, 10) and not {*train.class_names} & {*test.class_names}
    assert np.bincount(test.labels).tolist() == [3] * 10


@pytest.mark.parametrize("by", splits.BY)
def test_the_seed_draws_and_the_place_does_not(by):
    here, there = (sides(files(root, [5] * 30), 0.2, by)[1] for root in ("photos", "/elsewhere/x"))
    assert [path.split("/")[-2:] for path in here.paths] == [path.split("/")[-2:] for path in there.paths]
    others = [sides(files(counts=[5] * 30), 0.2, by, seed)[1].paths for seed in range(1, 4)]
    assert all(here.paths != other for other in others)


def test_a_new_image_moves_no_other_to_the_other_side_but_for_the_share():
    """Of 50 images, 10 are set aside; of 51, the same or those with the new one in the place of one."""
    few = source.Files([f"p/{place}.jpg" for place in range(50)], [0] * 50, ["a"])
    more = source.Files([f"p/{place}.jpg" for place in range(51)], [0] * 51, ["a"])
    before, after = ({*sides(one)[1].paths} for one in (few, more))
    assert len(after) == 10 and len(after & before) >= 9


def test_drawing_is_the_same_in_every_version():
    assert [path.split("/")[-1] for path in sides(files(counts=[10]))[1].paths] == ["3.jpg", "4.jpg"]


@pytest.mark.parametrize(("options", "message"), [
    (dict(test_share=1.0), "above 0 and below 1; got 1"), (dict(test_share=-0.1), "above 0 and below 1"),
    (dict(test_share=0.2, split_by="people"), "by images or classes .* got by 'people'"),
    (dict(test_share=0.2, part="validation"), "the part 'validation'"), (dict(part="test"), "give test_share"),
    (dict(test_share=0.2, folds=2), "not both"),
])
def test_splits_that_do_not_exist(options, message, tmp_path):
    folder = images.make_folder(tmp_path, 2, 2)
    with pytest.raises(ValueError, match=message):
        datasets.build("image_folder", path=str(folder), **options)


def test_too_few_of_them():
    with pytest.raises(ValueError, match="no class has two"):
        sides(files(counts=[1, 1, 1]))
    with pytest.raises(ValueError, match="cannot be split"):
        sides(files(counts=[9]), by="classes")


def test_from_the_configuration(tmp_path):
    folder = tiny.faces(tmp_path, 5, 4)
    config = tiny.config(folder, train_data__test_share=0.25, test_data__test_share=0.25, test_data__part="test")
    train, test = data.train_source(config), data.test_source(config)
    assert (len(train), len(test)) == (15, 5) and not {*train.paths} & {*test.paths}
    data.check_split(config)
    assert data.describe(config.test_data).endswith("the test part of a split: 0.25 of the images for testing, seed 0")


@pytest.mark.parametrize(("changes", "given"), [
    (dict(train_data__test_share=0.25), "test_share=0.25 --config.test_data.part=test"),
    (dict(train_data__test_share=0.25, test_data__test_share=0.25), "part=test"),
    (dict(train_data__test_share=0.25, test_data__test_share=0.25, test_data__part="test", test_data__split_seed=3),
     "split_seed=0"),
    (dict(test_data__test_share=0.25, test_data__part="test"), "test_share=0.0"),
])
def test_sides_that_would_overlap_are_refused(changes, given, tmp_path):
    with pytest.raises(ValueError, match="images in common") as error:
        data.check_split(tiny.config(tmp_path, **changes))
    assert str(error.value).endswith(f"Give --config.test_data.{given}")
