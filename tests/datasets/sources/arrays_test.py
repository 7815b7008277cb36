import gzip
import struct

import numpy as np
import pytest

from geodesic import datasets


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 7), np.uint8)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx(images, suffix, tmp_path):
    write = gzip.open if suffix else open
    with write(tmp_path / f"t10k-images-idx3-ubyte{suffix}", "wb") as file:
        file.write(idx(images))
    with write(tmp_path / f"t10k-labels-idx1-ubyte{suffix}", "wb") as file:
        file.write(idx(np.array([3, 0, 3, 9, 0, 9], np.uint8)))
    source = datasets.build("idx", path=str(tmp_path / f"t10k-images-idx3-ubyte{suffix}"))
    assert source.labels.tolist() == [1, 0, 1, 2, 0, 2] and source.class_names == ["0", "3", "9"]
    np.testing.assert_array_equal(datasets.decode(source[2])[:, :, 1], images[2])


def test_npz(images, tmp_path):
    np.savez(tmp_path / "a.npz", images=np.stack([images] * 3, axis=-1), labels=np.arange(6) // 2)
    source = datasets.build("npz", path=str(tmp_path / "a.npz"))
    assert (len(source), source.num_classes) == (6, 3)
    assert source[0]["image"].shape == (8, 7, 3)


@pytest.mark.parametrize(("arrays", "message"), [
    ({"images": np.zeros((2, 4, 4), np.float32), "labels": np.arange(2)}, "u8"),
    ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.arange(3)}, r"labels are int\[2\]"),
    ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.arange(2.0)}, "float64"),
    ({"images": np.zeros((2, 4, 4), np.uint8)}, "expected images and labels"),
    ({"images": np.array([{}], object), "labels": np.arange(1)}, "pickle"),
])
def test_npz_of_something_else(arrays, message, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        datasets.build("npz", path=str(tmp_path / "a.npz"))


def test_a_damaged_npz(images, tmp_path):
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(6))
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[:len(content) // 2])
    with pytest.raises(ValueError, match="not a usable"):
        datasets.build("npz", path=str(tmp_path / "a.npz"))


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x01\0\0\0\x05ab", b"\0\0\x0d\x03" + b"\0" * 20])
def test_damaged_idx(content, tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"IDX|damaged"):
        datasets.build("idx", path=str(path))
