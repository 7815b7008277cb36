import numpy as np
import pytest

from geodesic import datasets
from geodesic.datasets.sources import omniglot, rotated

NAMES = ["images_evaluation/Angelic/character01", "images_background/Tagalog/character02",
         "images_background/Greek/character01"]


def write(tmp_path, names=NAMES, labels=(0, 1, 2, 1)):
    ink = np.random.default_rng(0).integers(0, 2, (len(labels), 105 * 105), np.uint8)
    np.savez(tmp_path / "o.npz", bits=np.packbits(ink, axis=1), label=np.array(labels), names=np.array(names),
             drawer=np.ones(len(labels)))
    return ink.reshape(-1, 105, 105), str(tmp_path / "o.npz")


def test_background_comes_first_and_ink_is_black(tmp_path):
    ink, path = write(tmp_path)
    source = datasets.build("omniglot", path=path)
    assert source.class_names == [NAMES[2], NAMES[1], NAMES[0]] and source.labels.tolist() == [2, 1, 0, 1]
    np.testing.assert_array_equal(datasets.decode(source[3])[:, :, 1], np.where(ink[3], 0, 255))
    assert [source[index]["drawer"] for index in range(4)] == [0, 0, 0, 1]
    evaluation = datasets.build("omniglot", path=path, classes=(2, 0))
    assert evaluation.class_names == [NAMES[0]] and len(evaluation) == 1


def test_another_layout(tmp_path):
    with pytest.raises(ValueError, match="neither the background nor the evaluation"):
        datasets.build("omniglot", path=write(tmp_path, names=["x/y/z", *NAMES[1:]])[1])
    with pytest.raises(ValueError, match=r"in 0\.\.2"):
        datasets.build("omniglot", path=write(tmp_path, labels=(0, 3))[1])


class FakeSplit:
    """What `tfds.Tfds` says of one split of its omniglot: the names of both sets, the drawings of one."""

    class_names = ["Greek_1", "Angelic_0", "Greek_0"]  # noqa: RUF012

    def __init__(self, path: str):
        self.labels = np.array([0, 2, 0] if path.endswith("#train") else [1, 1])
        self.paths = [f"{path}/{index}" for index in range(len(self.labels))]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        return {"image": np.zeros((105, 105, 3), np.uint8), "label": int(self.labels[index]), "path": self.paths[index]}


def test_tfds_has_the_same_classes_in_the_same_order(monkeypatch):
    monkeypatch.setattr(omniglot.tfds, "Tfds", FakeSplit)
    source = datasets.build("omniglot", path="omniglot")
    assert source.class_names == ["images_background/Greek/character01", "images_background/Greek/character02",
                                  "images_evaluation/Angelic/character01"]
    assert source.labels.tolist() == [1, 0, 1, 2, 2]
    assert [(source[index]["label"], source[index]["path"]) for index in (1, 3)] == [(0, "omniglot#train/1"),
                                                                                     (2, "omniglot#test/0")]
    assert "drawer" not in source[0]
    turned = datasets.build("omniglot_rotations", path="omniglot")
    assert turned.num_classes == 12 and turned.class_names[4] == "images_background/Greek/character02/rot000"
    monkeypatch.setattr(FakeSplit, "class_names", ["cat", "dog", "cow"])
    with pytest.raises(ValueError, match="not tfds's omniglot: a class is called 'cat'"):
        datasets.build("omniglot", path="pets")


def test_eight_classes_of_a_drawing_are_the_symmetries_of_a_square(tmp_path):
    ink, path = write(tmp_path)
    posed = datasets.build("omniglot_dihedral", path=path)
    assert posed.num_classes == 24 and len(posed) == 32 and posed.paths[13] == f"{path}#1@mirrored_rot090"
    assert posed.class_names[8:17:4] == [f"{NAMES[1]}/rot000", f"{NAMES[1]}/mirrored_rot000", f"{NAMES[0]}/rot000"]
    images = [datasets.decode(posed[index])[:, :, 0] for index in range(8, 16)]
    drawn = np.where(ink[1], 0, 255)
    for index, image in enumerate(images):
        np.testing.assert_array_equal(image, np.rot90(drawn[:, ::-1] if index > 3 else drawn, index % 4))
    assert len({image.tobytes() for image in images}) == 8
    assert [posed[index]["label"] for index in (8, 15)] == posed.labels[[8, 15]].tolist() == [8, 15]
    turned = datasets.build("omniglot_rotations", path=path)
    assert [turned[6][key] for key in ("label", "path")] == [6, f"{path}#1@rot180"]
    np.testing.assert_array_equal(datasets.decode(turned[6])[:, :, 0], images[2])


def test_what_does_not_turn_with_an_image_is_refused():
    class Boxed:
        labels, num_classes, class_names, paths = np.zeros(1, np.int64), 1, ["a"], ["a.jpg"]

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return {"image": np.zeros((4, 4, 3), np.uint8), "label": 0, "path": "a.jpg", "box": (0, 0, 2, 2)}

    with pytest.raises(ValueError, match=r"a\.jpg has a box or landmarks"):
        rotated.Rotated(Boxed())[0]
