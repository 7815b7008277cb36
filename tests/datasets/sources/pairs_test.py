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


def test_lfw_pairs_of_a_table_have_its_landmarks(tmp_path):
    (tmp_path / "pairs.txt").write_text(LFW)
    names = ["C/C_0012.jpg", "B/B_0003.jpg", "B/B_0001.jpg", "A/A_0002.jpg", "A/A_0001.jpg", "A/A_0003.jpg"]
    rows = [f"lfw/{name},{name[0]}," + " ".join(str(10 * place + point) for point in range(10))
            for place, name in enumerate(names)]
    table = tmp_path / "faces.csv"
    table.write_text("\n".join(["path,label,landmarks", *rows]) + "\n")
    pairs = datasets.build_pairs("lfw", path=f"{tmp_path}/pairs.txt#{table}")
    assert [pairs.images.paths[index] for index in pairs.pairs[3]] == [f"{tmp_path}/lfw/{name}" for name in
                                                                       ("B/B_0003.jpg", "C/C_0012.jpg")]
    for name in names:
        (tmp_path / "lfw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lfw" / name).write_bytes(ENCODED[0])
    assert [pairs.images[index]["landmarks"][0] for index in range(5)] == [40, 30, 20, 10, 0]
    for listed, count in ((rows[1:], 0), ([*rows, rows[0]], 2)):
        table.write_text("\n".join(["path,label,landmarks", *listed]) + "\n")
        with pytest.raises(ValueError, match=rf"faces.csv has {count} rows of 'C_0012.jpg': .* and 1 have"):
            datasets.build_pairs("lfw", path=f"{tmp_path}/pairs.txt#{table}")


@pytest.mark.parametrize(("text", "message"), [
    ("", "line 1"), ("\n\n", "line 1"), (LFW.replace("\nB\t1\t3", "\n\nB\t1\t3"), "line 4: expected a name"),
    ("two\t1\n", "line 1"), (LFW.replace("B\t1\t3", "B\t1"), "line 4: expected a name"),
    (LFW.replace("C\t12", "C\tx"), "line 5"), (LFW + "A\t1\t2\n", "5 pairs; its first line says 2 x 1"),
])
def test_other_lists(text, message, tmp_path):
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        datasets.build_pairs("lfw", path=f"{tmp_path}/pairs.txt")


@pytest.mark.parametrize("write", [
    lambda text: text.encode("utf-8-sig"), lambda text: (text + "\n\n \n").encode(), lambda text: text[:-1].encode(),
    lambda text: text.replace("\n", "\r\n").encode(), lambda text: text.replace("\n", "\r").encode(),
    lambda text: text.replace("\t", " ").encode(), lambda text: text.replace("\t", "\t ").encode()])
def test_lists_as_editors_write_them(write, tmp_path):
    (tmp_path / "pairs.txt").write_bytes(LFW.encode())
    whole = datasets.build_pairs("lfw", path=f"{tmp_path}/pairs.txt")
    (tmp_path / "pairs.txt").write_bytes(write(LFW))
    pairs = datasets.build_pairs("lfw", path=f"{tmp_path}/pairs.txt")
    assert pairs.images.paths == whole.images.paths and (pairs.pairs == whole.pairs).all()
    assert (pairs.same == whole.same).all()


def test_names_with_blanks_in_no_encoding_and_folders_with_a_mark(tmp_path):
    folder = tmp_path / "faces #1"
    folder.mkdir()
    (folder / "pairs.txt").write_bytes(b"1\nJos\xe9 Silva\t1\t2\nJos\xe9 Silva\t1\tA\x85B\t2\n")
    pairs = datasets.build_pairs("lfw", path=f"{folder}/pairs.txt#{tmp_path}")
    assert pairs.images.paths == [f"{tmp_path}/Jos\udce9 Silva/Jos\udce9 Silva_{n:04}.jpg" for n in (1, 2)] + [
        f"{tmp_path}/A\udc85B/A\udc85B_0002.jpg"]
    assert datasets.build_pairs("lfw", path=f"{folder}/pairs.txt").images.paths[0].startswith(str(folder))


def test_no_file_and_no_such_set():
    with pytest.raises(FileNotFoundError, match="no file"):
        datasets.build_pairs("bin", path="absent.bin")
    with pytest.raises(ValueError, match="known: bin, lfw"):
        datasets.build_pairs("cfp", path="x")
