import os
import pickle

import numpy as np
import pytest

from geodesic import datasets
from tests.datasets import images

ENCODED = [images.encoded(images.pixels(seed)) for seed in range(8)]
SAME = [True, False, False, True]


def write(tmp_path, value, **options):
    path = tmp_path / "lfw.bin"
    path.write_bytes(pickle.dumps(value, **options))
    return str(path)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("form", ["bytes", "arrays", "array of booleans"])
def test_a_bin_is_read(protocol, form, tmp_path):
    encoded = [np.frombuffer(image, np.uint8) for image in ENCODED] if form == "arrays" else ENCODED
    same = np.array(SAME) if form == "array of booleans" else [np.bool_(value) for value in SAME]
    pairs = datasets.build_pairs("bin", path=write(tmp_path, (encoded, same), protocol=protocol))
    assert pairs.same.tolist() == SAME and pairs.pairs.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [pairs.images[index]["image"] for index in range(8)] == ENCODED
    assert datasets.decode(pairs.images[3]).shape == (24, 20, 3)


class Harm:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize(("value", "message"), [
    (Harm(), "asks for posix.system"), (([Harm()], SAME), "asks for posix.system"),
    ({"images": ENCODED}, "no pickle of plain data"), ((ENCODED, SAME[:3]), "8 images for 3 pairs"),
    ((ENCODED, ["yes"] * 4), "encoded images and booleans"), ((ENCODED, [2, 0, 1, 0]), "encoded images and booleans"),
    ((ENCODED, [True] * 4), "4 pairs of the same person among 4"), (([], []), "0 images for 0 pairs"),
    (np.array([{}], object), "array of objects|it holds|dtype"),
])
def test_what_is_no_bin(value, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        datasets.build_pairs("bin", path=write(tmp_path, value))
    assert not (tmp_path / "harmed").exists()


def test_an_unbalanced_set_can_be_admitted(tmp_path):
    path = write(tmp_path, (ENCODED, [True] * 4))
    assert datasets.build_pairs("bin", path=path + "#unbalanced").same.all()


def test_a_memo_entry_beyond_all_memory_is_harmless(tmp_path):
    """The C machine would allocate 2 ** 31 entries."""
    (tmp_path / "x.bin").write_bytes(b"\x80\x02]r\xff\xff\xff\x7f.")
    with pytest.raises(ValueError, match=r"no \.bin of pairs"):
        datasets.build_pairs("bin", path=str(tmp_path / "x.bin"))


LFW = "2\t1\nA\t1\t2\nA\t1\tB\t1\nB\t1\t3\nB\t3\tC\t12\n"


def test_lfw_pairs(tmp_path):
    (tmp_path / "pairs.txt").write_text(LFW)
    pairs = datasets.build_pairs("lfw", path=f"{tmp_path}/pairs.txt#faces")
    names = [[pairs.images.paths[index] for index in pair] for pair in pairs.pairs]
    assert names == [["faces/A/A_0001.jpg", "faces/A/A_0002.jpg"], ["faces/A/A_0001.jpg", "faces/B/B_0001.jpg"],
                     ["faces/B/B_0001.jpg", "faces/B/B_0003.jpg"], ["faces/B/B_0003.jpg", "faces/C/C_0012.jpg"]]
    assert pairs.same.tolist() == [True, False, True, False] and len(pairs.images) == 5  # each image once


@pytest.mark.parametrize(("text", "message"), [
    ("", "line 1"), ("two\t1\n", "line 1"), (LFW.replace("B\t1\t3", "B\t1"), "line 4: expected a name"),
    (LFW.replace("C\t12", "C\tx"), "line 5"), (LFW + "A\t1\t2\n", "5 pairs; its first line says 2 x 1"),
])
def test_other_lists(text, message, tmp_path):
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        datasets.build_pairs("lfw", path=f"{tmp_path}/pairs.txt")


def test_no_file_and_no_such_set():
    with pytest.raises(FileNotFoundError, match="no file"):
        datasets.build_pairs("bin", path="absent.bin")
    with pytest.raises(ValueError, match="known: bin, lfw"):
        datasets.build_pairs("cfp", path="x")
