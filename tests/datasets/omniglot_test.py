import numpy as np
import pytest

import datasets

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
    evaluation = datasets.build("omniglot", path=path, classes=(2, 0))
    assert evaluation.class_names == [NAMES[0]] and len(evaluation) == 1


def test_another_layout(tmp_path):
    with pytest.raises(ValueError, match="neither the background nor the evaluation"):
        datasets.build("omniglot", path=write(tmp_path, names=["x/y/z", *NAMES[1:]])[1])
    with pytest.raises(ValueError, match=r"in 0\.\.2"):
        datasets.build("omniglot", path=write(tmp_path, labels=(0, 3))[1])
