"""Written here as MXNet's documentation has the format, byte by byte; read by the source."""

import pickle
import struct

import pytest

from geodesic import datasets
from tests.datasets import images

MAGIC = 0xCED7230A


def header(labels, key):
    if len(labels) == 1:
        return struct.pack("<IfQQ", 0, labels[0], key, 0)
    return struct.pack("<IfQQ", len(labels), 0.0, key, 0) + struct.pack(f"<{len(labels)}f", *labels)


def frame(payload):
    """One record, or several where the payload holds the magic number on a 4-byte boundary."""
    parts, start = [], 0
    for at in range(0, len(payload) - 3, 4):
        if payload[at:at + 4] == struct.pack("<I", MAGIC):
            parts.append(payload[start:at])
            start = at + 4
    parts.append(payload[start:])
    out = b""
    for number, part in enumerate(parts):
        flag = 0 if len(parts) == 1 else 1 if number == 0 else 3 if number == len(parts) - 1 else 2
        out += struct.pack("<II", MAGIC, flag << 29 | len(part)) + part + b"\0" * (-len(part) % 4)
    return out


def write(folder, payloads: dict[int, bytes]):
    content, index = b"", ""
    for key, payload in payloads.items():
        index += f"{key}\t{len(content)}\n"
        content += frame(payload)
    (folder / "train.rec").write_bytes(content)
    (folder / "train.idx").write_text(index)
    return str(folder / "train.rec")


def jpeg(seed):
    return images.encoded(images.pixels(seed))


@pytest.fixture
def payloads():
    """Three identities with 2, 1 and 2 images, as insightface lays them out."""
    labels = [0, 0, 1, 2, 2]
    content = {0: header([6, 9], 0)}
    content |= {key: header([label], key) + jpeg(key) for key, label in enumerate(labels, start=1)}
    return content | {6: header([1, 3], 6), 7: header([3, 4], 7), 8: header([4, 6], 8)}


def test_insightface_layout(payloads, tmp_path):
    source = datasets.build("record_io", path=write(tmp_path, payloads))
    assert source.labels.tolist() == [0, 0, 1, 2, 2] and source.num_classes == 3
    for index in range(5):
        assert source[index]["image"] == jpeg(index + 1)
    assert datasets.decode(source[3]).shape == (24, 20, 3)


def test_a_plain_list_of_images(tmp_path):
    path = write(tmp_path, {key: header([label], key) + jpeg(key) for key, label in ((5, 1), (2, 0))})
    source = datasets.build("record_io", path=path)
    assert source.labels.tolist() == [0, 1] and source[1]["image"] == jpeg(5)


def test_a_payload_that_holds_the_magic_number(tmp_path):
    content = b"abcd" + struct.pack("<I", MAGIC) + b"efgh" + struct.pack("<I", MAGIC) + b"ij"
    path = write(tmp_path, {0: header([0], 0) + content, 1: header([1], 1) + b"x"})
    source = datasets.build("record_io", path=path)
    assert source[0]["image"] == content and source[1]["image"] == b"x"


def test_it_travels_to_loader_processes(payloads, tmp_path):
    source = pickle.loads(pickle.dumps(datasets.build("record_io", path=write(tmp_path, payloads))))
    assert source[4]["image"] == jpeg(5)


def test_a_label_that_disagrees_with_its_identity_is_not_accepted(payloads, tmp_path):
    payloads[2] = header([1], 2) + jpeg(2)
    source = datasets.build("record_io", path=write(tmp_path, payloads))
    with pytest.raises(ValueError, match=r"train\.rec#2 has label 1; its identity has 0"):
        source[1]


def test_labels_that_float32_cannot_tell_apart_are_refused(tmp_path):
    path = write(tmp_path, {1: header([2.0 ** 24], 1) + jpeg(1)})
    with pytest.raises(ValueError, match="no class numbers"):
        datasets.build("record_io", path=path)


@pytest.mark.parametrize("damage", [
    lambda rec: rec[:20], lambda rec: b"", lambda rec: b"\0" * len(rec),
    lambda rec: rec[:4] + b"\xff\xff\xff\x1f" + rec[8:],    # a length past the end of the file
])
def test_damage_is_said(payloads, damage, tmp_path):
    path = write(tmp_path, payloads)
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(damage(content))
    with pytest.raises(ValueError, match="damaged"):
        datasets.build("record_io", path=path)


def test_without_its_index(tmp_path):
    (tmp_path / "train.rec").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="no index"):
        datasets.build("record_io", path=str(tmp_path / "train.rec"))


def test_an_index_that_is_none(payloads, tmp_path):
    path = write(tmp_path, payloads)
    (tmp_path / "train.idx").write_text("1\t0\nnonsense\n")
    with pytest.raises(ValueError, match=r"train\.idx, line 2"):
        datasets.build("record_io", path=path)


@pytest.mark.parametrize("lst", ["1\t0\ta.jpg\n3\t1\tb.jpg\n", "1\ta.jpg\t0\n3\tb.jpg\t1\n"])
def test_the_list_beside_it_must_agree(payloads, lst, tmp_path):
    path = write(tmp_path, payloads)
    (tmp_path / "train.lst").write_text(lst)
    assert len(datasets.build("record_io", path=path)) == 5
    (tmp_path / "train.lst").write_text(lst.replace("3\tb.jpg\t1", "3\tb.jpg\t2").replace("3\t1\tb", "3\t2\tb"))
    with pytest.raises(ValueError, match=r"train\.rec#3 has label 1; .*train\.lst says 2"):
        datasets.build("record_io", path=path)


@pytest.mark.parametrize("change", [
    {4: [1.0]}, {3: [7.0]},         # the labels of an identity's first image: its neighbour's, nobody's
    {8: [3, 6]}, {6: [1, 2]},       # an identity that takes an image of another, or leaves one to nobody
    {0: [6, 8]}, {0: [6, 1e30]},
])
def test_identities_that_do_not_fit_together_are_refused(payloads, change, tmp_path):
    for key, labels in change.items():
        payloads[key] = header(labels, key) + (jpeg(key) if len(labels) == 1 else b"")
    with pytest.raises(ValueError, match="damaged"):
        datasets.build("record_io", path=write(tmp_path, payloads))
