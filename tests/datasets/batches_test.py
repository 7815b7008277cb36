import subprocess
import sys
import types

import cv2
import numpy as np
import pytest

from geodesic import datasets
from geodesic.configs import default
from geodesic.datasets import batches
from tests.datasets import images


class Numbered:
    """Image i is filled with i, so that a batch tells which records it holds."""

    num_classes, class_names = 5, list("abcde")

    def __init__(self, length: int):
        self.labels = np.arange(length) % 5
        self.paths = [str(index) for index in range(length)]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"image": np.full((8, 8, 3), index, np.uint8), "label": int(self.labels[index]), "path": str(index)}


@pytest.fixture
def config():
    config = default.get_config()
    config.batch_size = 8
    config.input.image_size = 8
    return config


def train_batches(source, config, *, process_index=0, process_count=1, **options):
    sections = {name: config[name] for name in ("input", "augment", "sampling")}
    run = {name: config.run[f"loader_{name}"] for name in ("threads", "workers", "buffer")}
    values = {"batch_size": config.batch_size, "seed": 0, "tolerance_percent": config.invalid_data_tolerance_percent}
    return datasets.train_batches(source, process_index=process_index, process_count=process_count,
                                  **sections | run | values | options)


def take(config, length, steps, *, seed=0, process_index=0, process_count=1, start=None, parts=1):
    made = train_batches(Numbered(length), config, seed=seed, process_index=process_index, process_count=process_count,
                         parts=parts)
    if start is not None:
        made.set_state(start)
    taken = [next(made) for _ in range(steps)]
    made.close()
    return taken, made.get_state()


def records(taken):
    return np.stack([batch["image"][:, 0, 0, 0] for batch in taken])


def test_every_image_once_an_epoch_in_a_new_order(config):
    order = records(take(config, 20, 5)[0]).ravel()  # 40 places: two epochs
    assert sorted(order[:20]) == sorted(order[20:]) == list(range(20))
    assert order[:20].tolist() != order[20:].tolist()


def test_labels_belong_to_their_images(config):
    batch = take(config, 20, 1)[0][0]
    np.testing.assert_array_equal(batch["label"], batch["image"][:, 0, 0, 0] % 5)
    assert batch["label"].dtype == np.int32 and batch["image"].dtype == np.uint8


def test_order_depends_on_the_seed(config):
    first, again, other = (records(take(config, 20, 3, seed=seed)[0]) for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_batches_do_not_depend_on_loader_threads(config, threads):
    config.augment.rotation = 20.0
    expected = take(config, 20, 3)[0]
    config.run.loader_threads = threads
    for ours, theirs in zip(take(config, 20, 3)[0], expected, strict=True):
        np.testing.assert_array_equal(ours["image"], theirs["image"])


@pytest.mark.parametrize("hosts", [2, 4])
def test_all_hosts_together_see_the_batch_of_one(config, hosts):
    config.augment.brightness = 0.3
    whole = take(config, 20, 4)[0]
    parts = [take(config, 20, 4, process_index=host, process_count=hosts)[0] for host in range(hosts)]
    for step, batch in enumerate(whole):
        together = np.concatenate([part[step]["image"] for part in parts])
        np.testing.assert_array_equal(together, batch["image"])


def test_resume_goes_on_exactly(config):
    config.augment.brightness = 0.3
    whole = take(config, 20, 7)[0]
    _, state = take(config, 20, 3)
    rest = take(config, 20, 4, start=state)[0]
    for ours, theirs in zip(rest, whole[3:], strict=True):
        np.testing.assert_array_equal(ours["image"], theirs["image"])


def test_it_can_begin_with_any_step(config):
    whole = take(config, 20, 7)[0]
    made = train_batches(Numbered(20), config, first_step=5)
    np.testing.assert_array_equal(records([next(made), next(made)]), records(whole[5:]))
    assert made.get_state() == {"step": 7}


def evaluate(source, config, batch_size, **host):
    host = {"process_index": 0, "process_count": 1} | host
    return list(datasets.eval_batches(source, input=config.input, batch_size=batch_size, **host))


def test_evaluation_covers_the_source_once_and_pads(config):
    taken = evaluate(Numbered(10), config, 4)
    assert [batch["index"].tolist() for batch in taken] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, -1, -1]]
    assert taken[-1]["mask"].tolist() == [True, True, False, False]


def test_evaluation_gives_every_host_as_many_batches(config):
    hosts = [evaluate(Numbered(9), config, 4, process_index=host, process_count=2) for host in range(2)]
    assert len(hosts[0]) == len(hosts[1]) == 3
    seen = np.concatenate([batch["index"] for taken in hosts for batch in taken])
    assert sorted(seen[seen >= 0]) == list(range(9))


def test_a_broken_image_is_masked_in_evaluation_and_named_in_training(config, tmp_path):
    folder = images.make_folder(tmp_path, 2, 3)
    broken = folder / "class1" / "1.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    source = datasets.build("image_folder", path=str(folder))
    batch = evaluate(source, config, 6)[0]
    assert batch["mask"].tolist() == [True, True, True, True, False, True]
    assert batch["index"].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=str(broken)):
        next(train_batches(source, config))


class Damaged(Numbered):
    """Those records of `Numbered` cannot be read."""

    def __init__(self, length, bad):
        super().__init__(length)
        self.bad = bad

    def __getitem__(self, index):
        return super().__getitem__(index) | ({"image": b"damaged"} if index in self.bad else {})


@pytest.mark.parametrize("hosts", [1, 2, 4])
@pytest.mark.parametrize("threads", [1, 4])
def test_a_broken_image_is_replaced_by_the_next_of_its_class(config, hosts, threads):
    config.invalid_data_tolerance_percent = 15.0
    config.run.loader_threads = threads
    source = Damaged(20, {3, 8, 19})  # 3 and 8 are neighbours in their class, 19 the last of its own
    parts = [train_batches(source, config, process_index=host, process_count=hosts) for host in range(hosts)]
    whole = records(take(config, 20, 5)[0])
    for step in range(5):
        taken = [next(part) for part in parts]
        batch = {key: np.concatenate([part[key] for part in taken]) for key in taken[0]}
        shown, wanted = batch["image"][:, 0, 0, 0], whole[step].astype(np.int64)
        np.testing.assert_array_equal(shown, [{3: 13, 8: 13, 19: 4}.get(record, record) for record in wanted])
        np.testing.assert_array_equal(batch["label"], wanted % 5)
        np.testing.assert_array_equal(batch["replaced"], np.where(np.isin(wanted, [3, 8, 19]), wanted, -1))


def test_where_a_class_has_no_readable_image_another_class_stands_in():
    labels = np.arange(6) % 2
    assert list(batches.stand_ins(labels, 3)) == [3, 5, 1, 4, 0, 2]
    assert list(batches.stand_ins(labels, 0)) == [0, 2, 4, 1, 3, 5]


def test_too_many_broken_images_in_a_row_stop_the_search(config):
    config.invalid_data_tolerance_percent = 10.0
    source = Damaged(20, {*range(20)})
    with pytest.raises(ValueError, match="3 of 20 training images, more than invalid_data_tolerance_percent 10"):
        next(train_batches(source, config))


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_batches_do_not_depend_on_loader_workers(config, workers):
    """Nor does the place to go on from."""
    config.augment.brightness = 0.3
    expected, state = take(config, 20, 3)
    rest = take(config, 20, 2, start=state)[0]
    config.run.loader_workers = workers
    ours, state = take(config, 20, 3)
    ours += take(config, 20, 2, start=state)[0]
    for batch, theirs in zip(ours, expected + rest, strict=True):
        np.testing.assert_array_equal(batch["image"], theirs["image"])


@pytest.mark.parametrize("hosts", [2, 4])
def test_a_part_of_the_global_batch_holds_the_same_images_on_any_number_of_hosts(config, hosts):
    """The training step cuts every host's batch into as many parts, and puts the i-th ones side by side."""
    config.sampling.update(name="pk", images_per_class=2)
    cut = lambda host, count: records(take(config, 20, 3, process_index=host, process_count=count,
                                           parts=2)[0]).reshape(3, 2, -1)
    together = np.concatenate([cut(host, hosts) for host in range(hosts)], axis=2)
    np.testing.assert_array_equal(together, cut(0, 1))
    labels = together % 5
    assert ((labels[..., :, None] == labels[..., None, :]).sum(-1) == 2).all()  # whole classes


def test_parts_that_hosts_cannot_share(config):
    with pytest.raises(ValueError, match="batch_size 8 does not divide into 2 processes x 3 accumulation steps"):
        take(config, 20, 1, process_count=2, parts=3)


def test_resume_on_another_number_of_hosts_goes_on_exactly(config):
    config.sampling.update(name="pk", images_per_class=2)
    whole = records(take(config, 20, 6)[0])
    _, state = take(config, 20, 2, process_index=1, process_count=4)
    parts = [records(take(config, 20, 4, process_index=host, process_count=2, start=state)[0]) for host in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole[2:])


@pytest.mark.parametrize("workers", [0, 1])
def test_sections_may_be_any_objects_with_the_fields(config, workers):
    config.augment.update(brightness=0.3, color_jitter=(0.1, 0.1, 0.1, 0.1), random_resized_crop=True)
    plain = {name: types.SimpleNamespace(**config[name]) for name in ("input", "augment", "sampling")}
    made = datasets.train_batches(Numbered(20), **plain, batch_size=8, seed=0, process_index=0, process_count=1,
                                  workers=workers)
    np.testing.assert_array_equal(next(made)["image"], take(config, 20, 1)[0][0]["image"])
    made.close()
    views = datasets.eval_batches(Numbered(4), input=plain["input"], batch_size=4, process_index=0, process_count=1)
    assert next(views)["image"][:, 0, 0, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [0, 7, 10])
def test_a_batch_that_the_processes_cannot_share(config, size):
    message = f"batch_size {size} does not divide into 4 processes"
    with pytest.raises(ValueError, match=message):
        train_batches(Numbered(20), config, batch_size=size, process_count=4)
    with pytest.raises(ValueError, match=message):
        evaluate(Numbered(20), config, size, process_count=4)


def test_options_that_cannot_be_followed_are_refused_before_the_first_batch(config):
    config.input.fit = "squash"
    with pytest.raises(ValueError, match="got 'squash'"):
        train_batches(Numbered(20), config)
    with pytest.raises(ValueError, match="got 'squash'"):
        evaluate(Numbered(20), config, 4)


def test_importing_datasets_changes_no_state_of_other_libraries():
    script = ("import cv2, PIL.Image; cv2.setNumThreads(3); PIL.Image.MAX_IMAGE_PIXELS = 12345\n"
              "import geodesic.datasets; assert (cv2.getNumThreads(), PIL.Image.MAX_IMAGE_PIXELS) == (3, 12345)")
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


class Threads(Numbered):
    """The pixels of an image are how many threads OpenCV has where it is read."""

    def __getitem__(self, index):
        return super().__getitem__(index) | {"image": np.full((8, 8, 3), cv2.getNumThreads(), np.uint8)}


@pytest.mark.parametrize("workers", [0, 1])
def test_opencv_starts_no_threads_beside_the_loaders(config, workers):
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        made = train_batches(Threads(20), config, workers=workers)
        assert (next(made)["image"] == 1).all()  # a single one
        made.close()
    finally:
        cv2.setNumThreads(before)
