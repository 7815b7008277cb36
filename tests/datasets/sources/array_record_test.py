import json
import os
import pickle

import numpy as np
import pytest

from geodesic import datasets
from geodesic.datasets import attempts
from geodesic.datasets.sources import array_record
from tests.datasets import images, streams

RECORDS = [(index % 2, f"faces/{index}.jpg", images.encoded(images.pixels(index))) for index in range(5)]


@pytest.fixture
def folder(tmp_path):
    shards = [array_record.write_shard(str(tmp_path), name, records)
              for name, records in (("0", RECORDS[:3]), ("1", []), ("2", RECORDS[3:]))]
    manifest = {"images": 5, "class_names": ["a", "b"], "shards": shards}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


@pytest.mark.parametrize("travelled", [False, True])
def test_what_was_written_is_read(folder, travelled):
    source = datasets.build("array_record", path=str(folder))
    source[0]
    source = pickle.loads(pickle.dumps(source)) if travelled else source
    assert [(source[np.int64(i)]["label"], source.paths[i], source[i]["image"]) for i in range(5)] == RECORDS
    assert source.class_names == ["a", "b"] and source.labels.tolist() == [0, 1, 0, 1, 0]
    assert array_record.damaged_shards(str(folder)) == []


def test_a_folder_whose_name_is_no_utf8(folder, tmp_path_factory):
    """And has what the reader takes for a part of a file."""
    odd = os.path.join(tmp_path_factory.mktemp("odd"), "caf\udce9 [0:1]")
    os.mkdir(odd)
    shard = array_record.write_shard(odd, "0", RECORDS)
    with open(os.path.join(odd, "manifest.json"), "w") as file:
        json.dump({"images": 5, "class_names": ["a", "b"], "shards": [shard]}, file)
    source = pickle.loads(pickle.dumps(datasets.build("array_record", path=odd)))
    assert [(source[i]["label"], source.paths[i], source[i]["image"]) for i in range(5)] == RECORDS
    assert array_record.damaged_shards(odd) == []


def damage(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def test_a_flipped_bit_in_an_image_is_found(folder):
    path = folder / "images-0.array_record"
    damage(path, path.read_bytes().index(RECORDS[1][2]) + 100)
    assert array_record.damaged_shards(str(folder)) == [path.name]
    source = datasets.build("array_record", path=str(folder))
    with pytest.raises(ValueError, match=r"cannot read record [01] of .*faces/[01]\.jpg"):
        [source[index] for index in range(2)]


@pytest.mark.parametrize(("name", "message"), [
    ("images-2.array_record", "it has"), ("index-0.parquet", ""), ("manifest.json", "")])
def test_a_file_cut_short(folder, name, message):
    (folder / name).write_bytes((folder / name).read_bytes()[:-30])
    with pytest.raises(ValueError, match=f"{name} is damaged: {message}"):
        datasets.build("array_record", path=str(folder))


def test_a_shard_that_is_gone_and_a_folder_of_something_else(folder, tmp_path):
    (folder / "images-0.array_record").unlink()
    with pytest.raises(ValueError, match="it is missing"):
        datasets.build("array_record", path=str(folder))
    (folder / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"geodesic prepare"):
        datasets.build("array_record", path=str(folder))


def test_records_carry_their_checksum():
    packed = array_record.pack(3, b"image")
    assert array_record.unpack(packed) == (3, b"image")
    for place in range(len(packed)):
        broken = bytearray(packed)
        broken[place] ^= 1
        with pytest.raises(ValueError, match="checksum"):
            array_record.unpack(bytes(broken))


def test_a_bucket_gives_the_same_batches(folder, tmp_path, monkeypatch):
    with streams.cache_of(monkeypatch, tmp_path / "cache"):
        here = datasets.build("array_record", path=str(folder))
        bucket = streams.use_bucket(monkeypatch, tmp_path.parent)
        path = f"gs://{tmp_path.name}"
        there = datasets.build("array_record", path=path)
        assert there.record_names() == here.record_names() and there.class_names == here.class_names
        assert array_record.damaged_shards(path) == []
        bucket.failures += [ConnectionResetError("by peer"), OSError(16, "slow down")]
        assert streams.same(streams.batches(there, threads=1), streams.batches(here))
        assert pickle.loads(pickle.dumps(there))[4]["image"] == RECORDS[4][2]
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
        bucket.failures += [TimeoutError("slow")] * 999
        with pytest.raises(attempts.UnreachableError, match="cannot be reached: slow"):
            there[0]
        bucket.failures.clear()
        shard = folder / "images-0.array_record"
        damage(shard, shard.read_bytes().index(RECORDS[1][2]) + 100)
        with pytest.raises(ValueError, match=r"cannot read record 1 of gs://.*faces/1\.jpg.*checksum"):
            there[1]
        assert array_record.damaged_shards(path) == [shard.name]
        shard.unlink()
        with pytest.raises(ValueError, match="it is missing"):
            datasets.build("array_record", path=path)
