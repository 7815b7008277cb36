"""Every kind of weight file is read back exactly; whatever is damaged or no tensor is refused with a reason."""

import collections
import io
import json
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import pytest

from geodesic.embedders.public_weights import weight_files

TENSORS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1.5, -2.0], np.float32)}


def safetensors(tensors: dict, dtype: str = "F32") -> bytes:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, value in tensors.items():
        offsets = [len(data), len(data) + value.nbytes]
        header[name] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": offsets}
        data += value.tobytes()
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + data


class Mention:
    """Pickles as the global `module.name`, called with `arguments`."""

    def __init__(self, module: str, name: str, *arguments):
        self.module, self.name, self.arguments = module, name, arguments


class TorchPickler(pickle._Pickler):  # the Python one: its opcodes can be written by hand
    """Writes what torch.save writes, without torch."""

    def persistent_id(self, value):
        return value.reference if isinstance(value, Storage) else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Mention):
            self.write(f"c{value.module}\n{value.name}\n".encode())
            if value.arguments:
                self.save(value.arguments)
                self.write(pickle.REDUCE)
            return
        super().save(value, save_persistent_id)


class Storage:
    def __init__(self, kind: str, key: str, count: int):
        self.reference = ("storage", Mention("torch", kind), key, "cpu", count)


def pickled(value) -> bytes:
    buffer = io.BytesIO()
    TorchPickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def tensor(key: str, value: np.ndarray, kind: str = "FloatStorage", offset: int = 0, strides=None) -> Mention:
    strides = strides or tuple(stride // value.itemsize for stride in value.strides)
    return Mention("torch._utils", "_rebuild_tensor_v2", Storage(kind, key, value.size), offset, value.shape, strides,
                   False, collections.OrderedDict())


def torch_zip(path, value, storages: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(value))
        archive.writestr("archive/byteorder", b"little")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return str(path)


def torch_state(tensors: dict):
    state = collections.OrderedDict((name, tensor(str(i), value)) for i, (name, value) in enumerate(tensors.items()))
    return state, {str(i): value.tobytes() for i, value in enumerate(tensors.values())}


def onnx(tensors: dict) -> bytes:
    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2]) + varint(len(data)) + data

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    graph = b""
    for name, value in tensors.items():
        dims = field(1, b"".join(varint(side) for side in value.shape))
        graph += field(5, dims + b"\x10\x01" + field(8, name.encode()) + field(9, value.tobytes()))
    return b"\x08\x08" + field(7, graph)


def assert_tensors(read: dict) -> None:
    assert list(read) == list(TENSORS)
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(read[name], value)
        assert read[name].dtype == np.float32


def test_safetensors(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(safetensors(TENSORS))
    assert_tensors(weight_files.read(str(tmp_path / "w.safetensors")))


def test_npz(tmp_path):
    np.savez(tmp_path / "w.npz", **TENSORS)
    assert_tensors(weight_files.read(str(tmp_path / "w.npz")))


def test_onnx(tmp_path):
    (tmp_path / "w.onnx").write_bytes(onnx(TENSORS))
    assert_tensors(weight_files.read(str(tmp_path / "w.onnx")))


def test_tensorflow_js_over_two_shards(tmp_path):
    data = b"".join(value.tobytes() for value in TENSORS.values())
    (tmp_path / "one.bin").write_bytes(data[:10])
    (tmp_path / "two.bin").write_bytes(data[10:])
    entries = [{"name": name, "shape": list(value.shape), "dtype": "float32"} for name, value in TENSORS.items()]
    (tmp_path / "model.json").write_text(json.dumps({"weightsManifest": [{"paths": ["one.bin", "two.bin"],
                                                                         "weights": entries}]}))
    assert_tensors(weight_files.read(str(tmp_path / "model.json")))


@pytest.mark.parametrize("container", (None, "state_dict", "model"))
def test_pth(tmp_path, container):
    state, storages = torch_state(TENSORS)
    value = {container: state, "epoch": 3} if container else state
    assert_tensors(weight_files.read(torch_zip(tmp_path / "w.pth", value, storages)))


def test_pth_before_version_1_6(tmp_path):
    state, storages = torch_state(TENSORS)
    machine = {"protocol_version": 1001, "little_endian": True}
    content = b"".join(pickled(part) for part in (0x1950A86A20F9469CFC6C, 1001, machine, state, list(storages)))
    for data in storages.values():
        content += struct.pack("<q", len(data) // 4) + data
    (tmp_path / "w.pt").write_bytes(content)
    assert_tensors(weight_files.read(str(tmp_path / "w.pt")))


def test_bfloat16(tmp_path):
    halves = (TENSORS["a.weight"].view("<u4") >> 16).astype("<u2")
    (tmp_path / "w.safetensors").write_bytes(safetensors({"a.weight": halves}, "BF16"))
    np.testing.assert_array_equal(weight_files.read(str(tmp_path / "w.safetensors"))["a.weight"], TENSORS["a.weight"])


def test_transposed_and_shared_storages(tmp_path):
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    state = {"whole": tensor("0", value), "part": tensor("0", value[1], offset=3),
             "transposed": tensor("0", value.T, strides=(1, 3))}
    read = weight_files.read(torch_zip(tmp_path / "w.pth", state, {"0": value.tobytes()}))
    np.testing.assert_array_equal(read["transposed"], value.T)
    np.testing.assert_array_equal(read["part"], value[1])


# Each would write the file `marker` if it ran.
MALICIOUS = {
    "os.system": lambda marker: Mention("os", "system", f"touch {marker}"),
    "posix.system": lambda marker: Mention("posix", "system", f"touch {marker}"),
    "subprocess": lambda marker: Mention("subprocess", "check_output", ["touch", str(marker)]),
    "eval": lambda marker: Mention("builtins", "eval", f"open({str(marker)!r}, 'w')"),
    "exec in a tensor": lambda marker: {"w": Mention("builtins", "exec", f"open({str(marker)!r}, 'w')")},
    "getattr": lambda marker: Mention("builtins", "getattr", Mention("os", "path"), "os"),
    "a dotted name": lambda marker: Mention("collections", "OrderedDict.__init__.__globals__", "x"),
    "torch.load": lambda marker: Mention("torch", "load", str(marker)),
    "another rebuild": lambda marker: Mention("torch._utils", "_rebuild_device_tensor_from_numpy", "x"),
    "numpy": lambda marker: Mention("numpy", "load", str(marker)),
    "a storage type called": lambda marker: Mention("torch", "FloatStorage", 10),
}


@pytest.mark.parametrize("attack", MALICIOUS)
@pytest.mark.parametrize("legacy", (False, True))
def test_a_malicious_pickle_is_refused(tmp_path, attack, legacy):
    marker = tmp_path / "marker"
    value = MALICIOUS[attack](marker)
    path = tmp_path / "w.pth"
    if legacy:
        path.write_bytes(b"".join(pickled(part) for part in (0x1950A86A20F9469CFC6C, 1001, {}, value, [])))
    else:
        torch_zip(path, value, {})
    with pytest.raises(ValueError, match=r"w\.pth (was not read|is damaged)"):
        weight_files.read(str(path))
    assert not marker.exists()


@pytest.mark.parametrize("put", [b"r\xff\xff\xff\xff", b"r\x00\x00\x00\x10", b"q\xff", b"p9999999999\n"])
@pytest.mark.parametrize("legacy", (False, True))
def test_a_part_with_a_number_that_would_take_all_memory_is_refused(tmp_path, put, legacy):
    path, bomb = tmp_path / "w.pth", b"\x80\x02}" + put + b"."
    if legacy:
        path.write_bytes(b"".join(pickled(part) for part in (0x1950A86A20F9469CFC6C, 1001, {})) + bomb + pickled([]))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", bomb)
    with pytest.raises(ValueError, match=r"w\.pth was not read: its part 2 is numbered"):
        weight_files.read(str(path))


@pytest.mark.parametrize("fields", ({"offset": 1}, {"strides": (300, 1)}, {"offset": -1}))
def test_a_tensor_that_reaches_past_its_storage_is_refused(tmp_path, fields):
    value = TENSORS["a.weight"]
    with pytest.raises(ValueError, match="was not read"):
        weight_files.read(torch_zip(tmp_path / "w.pth", {"w": tensor("0", value, **fields)}, {"0": value.tobytes()}))


def test_a_pickle_of_an_object_array_in_npz_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(ValueError, match="plain arrays"):
        weight_files.read(str(tmp_path / "w.npz"))


@pytest.mark.parametrize("name", ("w.safetensors", "w.npz", "w.pth", "w.onnx"))
@pytest.mark.parametrize("kept", (0, 5, 60))
def test_a_file_that_is_cut_off_is_refused(tmp_path, name, kept):
    path = tmp_path / name
    if name == "w.npz":
        np.savez(path, **TENSORS)
    elif name == "w.pth":
        torch_zip(path, *torch_state(TENSORS))
    else:
        path.write_bytes((safetensors if name == "w.safetensors" else onnx)(TENSORS))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=f"{name}"):
        weight_files.read(str(path))


@pytest.mark.parametrize("name", ["w.ckpt", "w.bin", "w.pth.tar", "W.PTH", "w", "w.safetensors", "w.onnx"])
@pytest.mark.parametrize("kind", ["safetensors", "npz", "pth", "onnx"])
def test_a_file_is_known_by_its_content(tmp_path, name, kind):
    path = tmp_path / name
    if kind == "npz":
        with open(path, "wb") as file:
            np.savez(file, **TENSORS)
    elif kind == "pth":
        torch_zip(path, *torch_state(TENSORS))
    elif kind == "onnx" and path.suffix in (".safetensors", ".PTH"):
        return  # of protocol buffers nothing can be told, so the extension counts
    else:
        path.write_bytes((safetensors if kind == "safetensors" else onnx)(TENSORS))
    assert_tensors(weight_files.read(str(path)))


@pytest.mark.parametrize("content", [b"{", b"{}", b"[]", b'{"weight_map": 3}', b'{"weight_map": {"a": 3}}',
                                     b'{"weightsManifest": [{"paths": ["x"]}]}', b'{"weightsManifest": 3}'])
def test_a_json_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=r"model\.json|no file|No such file"):
        weight_files.read(str(tmp_path / "model.json"))


@pytest.mark.parametrize("header", [b"[]", b'{"a": 3}', b'{"a": {"dtype": "F32"}}',
                                    b'{"a": {"dtype": "F32", "shape": 3, "data_offsets": [0, 4]}}'])
def test_a_header_of_something_else_is_refused(tmp_path, header):
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match=r"w\.safetensors"):
        weight_files.read(str(tmp_path / "w.safetensors"))


def test_unknown_extension_and_missing_file(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"cannot read \.bin; known: \.safetensors"):
        weight_files.read(str(tmp_path / "w.bin"))
    with pytest.raises(FileNotFoundError, match="no file"):
        weight_files.read(str(tmp_path / "none.pth"))


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """A bit flipped, a byte set, a run of noise or zeros, bytes lost or put in, or the end cut off."""
    content, at = bytearray(whole), int(rng.integers(len(whole)))
    noise = rng.integers(0, 256, int(rng.integers(1, 32)), np.uint8).tobytes()
    start, stop, new = [(at, at + 1, bytes([content[at] ^ 1 << int(rng.integers(8))])), (at, at + 1, noise[:1]),
                        (at, at + len(noise), noise), (at, at + len(noise), bytes(len(noise))),
                        (at, at + len(noise), b""), (at, at, noise), (at, len(content), b"")][rng.integers(7)]
    content[start:stop] = new
    return bytes(content)


@pytest.mark.slow
def test_a_thousand_damaged_pth_files_are_refused_or_read_as_they_were_meant(tmp_path):
    """Never a crash, never other values."""
    path, rng, read = tmp_path / "w.pth", np.random.default_rng(0), 0
    whole = pathlib.Path(torch_zip(path, *torch_state(TENSORS))).read_bytes()
    for _ in range(1000):
        path.write_bytes(damaged(whole, rng))
        try:
            assert_tensors(weight_files.read(str(path)))
            read += 1
        except ValueError as error:
            assert str(error).startswith(str(path))
    print(f".pth, damaged | 1000 tries | {1000 - read} refused | {read} read as they were meant")
    assert 0 < read < 1000
