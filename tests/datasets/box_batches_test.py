import numpy as np
import pytest

from geodesic import datasets
from geodesic.configs import default
from geodesic.datasets import boxes
from geodesic.errors import UserError
from tests.datasets import images

EVERYTHING = {"horizontal_flip": 0.5, "scale": (0.6, 1.5), "crop": 0.5, "mosaic": 0.5,
              "color_jitter": (0.2, 0.2, 0.2, 0.1)}


@pytest.fixture
def config():
    config = default.get_config()
    config.batch_size = 8
    config.detection.height, config.detection.width, config.detection.max_boxes = 32, 48, 12
    return config


@pytest.fixture
def source(tmp_path):
    """Ten pictures, picture i with i % 4 boxes of class i % 3 and a crowd."""
    owners, corners, crowd = [], [], []
    for place in range(10):
        (tmp_path / f"{place}.png").write_bytes(images.encoded(images.pixels(place, 40, 60), "PNG"))
        for box in range(place % 4 + 1):
            owners.append(place)
            corners.append([5 * box, 4, 5 * box + 20, 30])
            crowd.append(box == 3)
    owners = np.array(owners)
    names = [f"{place}.png" for place in range(10)]
    found, _ = boxes.gather("x", names, owners, np.array(corners), owners % 3, crowd=np.array(crowd))
    return boxes.BoxFiles([str(tmp_path / name) for name in names], list("abc"), found)


def batches(source, config, process_index=0, process_count=1, **options):
    return datasets.detection_batches(source, **{
        "input": config.input, "augment": config.box_augment, "detection": config.detection,
        "batch_size": config.batch_size, "seed": 0, "process_index": process_index, "process_count": process_count,
        "tolerance_percent": config.invalid_data_tolerance_percent} | options)


def take(source, config, steps, state=None, **options):
    made = batches(source, config, **options)
    if state:
        made.set_state(state)
    taken = [next(made) for _ in range(steps)]
    made.close()
    return taken, made.get_state()


def assert_equal(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_a_batch_has_the_boxes_of_its_pictures(source, config):
    [batch], _ = take(source, config, 1)
    assert {name: (values.shape, str(values.dtype)) for name, values in batch.items()} == {
        "image": ((8, 32, 48, 3), "uint8"), "boxes": ((8, 12, 4), "float32"), "classes": ((8, 12), "int32"),
        "num_boxes": ((8,), "int32"), "replaced": ((8,), "int64")}
    order = np.random.default_rng((0, 0, 0)).permutation(10)[:8]
    counts = np.where(order % 4 == 3, 3, order % 4 + 1)  # without the crowds
    np.testing.assert_array_equal(batch["num_boxes"], counts)
    for row, place in enumerate(order):
        count = counts[row]
        assert (batch["classes"][row, :count] == place % 3).all() and not batch["boxes"][row, count:].any()
        np.testing.assert_allclose(batch["boxes"][row, 0], 0.8 * np.array([0, 4, 20, 30]), atol=1e-5)


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": 4}, {"workers": 2}, {"threads": 1, "buffer": 1}])
def test_batches_do_not_depend_on_who_makes_them(source, config, options):
    config.box_augment.update(EVERYTHING)
    assert_equal(take(source, config, 3, **options)[0], take(source, config, 3)[0])


@pytest.mark.parametrize("parts", [1, 2])
def test_all_hosts_together_see_the_batch_of_one(source, config, parts):
    config.box_augment.update(EVERYTHING)
    whole = take(source, config, 3, parts=parts)[0]
    hosts = [take(source, config, 3, process_index=host, process_count=2, parts=parts)[0] for host in (0, 1)]
    for step, batch in enumerate(whole):
        for name, values in batch.items():
            shares = [host[step][name].reshape(parts, 4 // parts, *values.shape[1:]) for host in hosts]
            np.testing.assert_array_equal(np.stack(shares, axis=1).reshape(values.shape), values)


def test_resume_goes_on_exactly_and_the_seed_matters(source, config):
    config.box_augment.update(EVERYTHING)
    whole = take(source, config, 5)[0]
    _, state = take(source, config, 2)
    assert state == {"step": 2}
    assert_equal(take(source, config, 3, state=state)[0], whole[2:])
    assert (take(source, config, 1, seed=1)[0][0]["image"] != whole[0]["image"]).any()


def test_mosaics_are_as_many_as_asked_and_never_too_full(source, config):
    config.box_augment.update({"mosaic": 1.0, "scale": (0.5, 0.5)})
    taken = take(source, config, 4)[0]
    several = [len({*batch["classes"][row, :batch["num_boxes"][row]].tolist()}) > 1 for batch in taken
               for row in range(8)]
    assert sum(several) > 20
    config.detection.max_boxes = 3
    taken = take(source, config, 4)[0]
    assert max(batch["num_boxes"].max() for batch in taken) == 3
    config.box_augment.mosaic = 0.0
    alone = take(source, config, 4)[0]
    same = [(ours["image"][row] == theirs["image"][row]).all() for ours, theirs in zip(taken, alone, strict=True)
            for row in range(8)]
    assert 0 < sum(same) < 32  # where four pictures would have too many boxes, the own one is alone


def test_a_picture_that_cannot_be_read_is_replaced_by_the_next(source, config, tmp_path):
    (tmp_path / "4.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"cannot read the image .*4\.png"):
        take(source, config, 2)
    config.invalid_data_tolerance_percent = 20.0
    config.box_augment.mosaic = 0.5
    taken = take(source, config, 5)[0]
    assert {int(index) for batch in taken for index in batch["replaced"]} == {-1, 4}
    config.box_augment.mosaic = 0.0
    order = np.concatenate([np.random.default_rng((0, 0, epoch)).permutation(10) for epoch in range(4)])[:40]
    rows = {name: np.concatenate([batch[name] for batch in take(source, config, 5)[0]]) for name in taken[0]}
    bad, five = int(np.flatnonzero(order == 4)[0]), int(np.flatnonzero(order == 5)[0])
    assert rows["replaced"][bad] == 4
    np.testing.assert_array_equal(rows["boxes"][bad], rows["boxes"][five])
    np.testing.assert_array_equal(rows["image"][bad], rows["image"][five])


def test_a_picture_of_another_size_than_its_boxes_is_one_that_cannot_be_read(source, config):
    source.sizes[:] = (40, 60)
    source.sizes[7] = (60, 40)
    with pytest.raises(UserError, match=r"7\.png: it has 60 x 40 pixels, upright, and its boxes are of 40 x 60"):
        take(source, config, 2)
    assert "its boxes are of 40 x 60" in datasets.problem(source, 7)


def test_too_many_boxes_are_refused_before_the_first_step(source, config):
    config.detection.max_boxes = 2
    with pytest.raises(UserError, match=r"2\.png has 3 boxes, and detection.max_boxes is 2; so has 3 other picture"):
        batches(source, config)
    config.detection.max_boxes = 3  # the crowds do not count
    batches(source, config)


def test_evaluation_covers_the_source_once_and_pads(source, config, tmp_path):
    (tmp_path / "4.png").write_bytes(b"no image")
    for count in (1, 2):
        parts = [[*datasets.detection_eval_batches(source, input=config.input, detection=config.detection, batch_size=8,
                                                   process_index=host, process_count=count)] for host in range(count)]
        whole = {name: np.concatenate([part[step][name] for step in range(2) for part in parts])
                 for name in parts[0][0]}
        assert whole["index"].tolist() == [*range(10)] + [-1] * 6
        assert whole["mask"].tolist() == [place not in (4,) and place < 10 for place in range(16)]
        assert whole["size"][whole["mask"]].tolist() == [[40, 60]] * 9 and whole["image"].dtype == np.uint8
        np.testing.assert_allclose(whole["scale"][whole["mask"]], 0.8, rtol=1e-6)
        assert whole["offset"].dtype == np.float32 and whole["offset"].shape == (16, 2)
        assert not whole["image"][4].any() and whole["image"][3].any()


def test_views_that_come_round_are_the_same_pictures_with_the_same_boxes(source, config):
    """Ten pictures, two views of each: four epochs of five batches of two show each view twice."""
    config.detection.kept_views, config.batch_size = 2, 2
    config.box_augment.update(horizontal_flip=0.5, scale=(0.5, 2.0), mosaic=0.5, color_jitter=(0.3, 0.3, 0.3, 0.1))
    taken, _ = take(source, config, 20)
    seen = {}
    for batch in taken:
        for row, view in enumerate(batch["view"].tolist()):
            seen.setdefault(view, []).append({name: values[row] for name, values in batch.items()})
    assert sorted(seen) == [*range(20)] and {len(shown) for shown in seen.values()} == {2}
    for first, second in seen.values():
        assert_equal([first], [second])
    assert sum((seen[2 * place][0]["image"] != seen[2 * place + 1][0]["image"]).any() for place in range(10)) > 7
    others, _ = take(source, config, 20, threads=4, first_step=0)
    assert_equal(taken, others)
    config.detection.kept_views = 0
    assert "view" not in take(source, config, 1)[0][0]
