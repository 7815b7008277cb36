import pathlib
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from geodesic import datasets
from geodesic.datasets import attempts
from geodesic.datasets.sources import parquet
from geodesic.errors import UserError
from tests.datasets import images, odd_mutations, streams

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def folder(tmp_path):
    return datasets.build("image_folder", path=str(images.make_folder(tmp_path / "photos", 3, 7)))


@pytest.mark.parametrize("options", [{}, {"named": False}, {"files": 1, "row_group_size": 1}, {"files": 3},
                                     {"compression": "zstd"}, {"use_dictionary": False, "compression": "none"},
                                     {"data_page_version": "2.0", "data_page_size": 100}])
def test_the_batches_are_those_of_the_same_images_in_a_folder(folder, tmp_path, options):
    path = streams.write_parquet(tmp_path / "set", folder, **options)
    source = datasets.build("parquet", path=f"{path}#train")
    assert source.class_names == folder.class_names and source.labels.tolist() == folder.labels.tolist()
    assert streams.same(streams.batches(source), streams.batches(folder))
    assert [source[place]["image"] for place in range(21)] == [folder[place]["image"] for place in range(21)]
    assert len({*source.record_names()}) == 21
    assert datasets.build("parquet", path=str(path)).record_names() == source.record_names()
    assert source.remarks == []


@pytest.mark.slow
def test_loader_processes_and_a_resumed_run_make_the_same_batches(folder, tmp_path):
    source = datasets.build("parquet", path=str(streams.write_parquet(tmp_path / "set", folder)))
    source[3]
    assert streams.same(streams.batches(source, steps=3, first_step=3, workers=2), streams.batches(folder, 6)[3:])
    assert pickle.loads(pickle.dumps(source))[20]["image"] == folder[20]["image"]


def test_a_row_group_is_read_once_from_a_bucket(folder, tmp_path, monkeypatch):
    streams.write_parquet(tmp_path / "buckets" / "faces", folder)
    bucket = streams.use_bucket(monkeypatch, tmp_path / "buckets")
    source = datasets.build("parquet", path="gs://faces#train")
    assert source.record_names() == datasets.build("parquet", path=str(tmp_path / "buckets")).record_names()
    read = []
    unpack = parquet._unpack
    monkeypatch.setattr(parquet, "_unpack", lambda group, column: read.append(group) or unpack(group, column))
    bucket.failures += [ConnectionResetError("by peer"), OSError(16, "slow down")]
    assert streams.same(streams.batches(source, 12, threads=1), streams.batches(folder, 12))
    assert len(read) == len({*read}) == 6  # of 3 row groups in each of 2 files
    bucket.failures += [TimeoutError("slow")] * 99
    assert streams.same(streams.batches(source, 12), streams.batches(folder, 12))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    with pytest.raises(attempts.UnreachableError, match=r"train-0000.-of-00002\.parquet cannot be reached: slow"):
        streams.batches(datasets.Classes(source, 0, 0), threads=1, tolerance_percent=100.0)


def test_where_nothing_is_kept_the_same_is_read(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GEODESIC_CACHE_GB", "0")
    source = datasets.build("parquet", path=str(streams.write_parquet(tmp_path / "set", folder)))
    assert streams.same(streams.batches(source), streams.batches(folder))
    [remark] = source.remarks
    assert "more than GEODESIC_CACHE_GB keeps" in remark and "geodesic prepare" in remark


def write(path: pathlib.Path, **columns) -> str:
    pa.parquet.write_table(pa.table(columns), path)
    return str(path)


IMAGES = [{"bytes": images.encoded(images.pixels(place)), "path": None} for place in range(3)]
HEADER_OF_NAMES = {"huggingface": '{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}}}'}


def test_other_layouts(tmp_path):
    source = datasets.build("parquet", path=write(tmp_path / "a.parquet", img=IMAGES, label=["b", " a ", "b"]))
    assert source.class_names == ["a", "b"] and source.labels.tolist() == [1, 0, 1]
    source = datasets.build("parquet", path=write(tmp_path / "b.parquet", image=IMAGES, label=[10, 9, 10],
                                                         other=IMAGES))
    assert source.class_names == ["9", "10"]
    source = datasets.build("parquet", path=write(tmp_path / "c.parquet", label=["a"] * 3, image=[
        IMAGES[0], {"bytes": None, "path": "x.jpg"}, {"bytes": b"", "path": None}]))
    assert source[0]["image"] == IMAGES[0]["bytes"] and source[2]["image"] == b""
    with pytest.raises(UserError, match=r"c\.parquet#1 has no bytes"):
        source[1]
    assert "c.parquet#2" in datasets.problem(source, 2)


@pytest.mark.parametrize(("columns", "message"), [
    ({"image": IMAGES, "text": ["a"] * 3}, r"one column of labels .*, found none; it has image, text"),
    ({"label": ["a"] * 3}, r"one column of images .*, found none"),
    ({"one": IMAGES, "two": IMAGES, "label": ["a"] * 3}, r"one column of images .*, found one, two"),
    ({"image": IMAGES, "label": ["a", None, "b"]}, "row 2 has no label"),
    ({"image": pa.array(IMAGES)[:0], "label": []}, "has no row"),
])
def test_what_is_refused(tmp_path, columns, message):
    with pytest.raises(UserError, match=message):
        datasets.build("parquet", path=write(tmp_path / "a.parquet", **columns))


def test_labels_that_are_none_and_files_that_do_not_agree(folder, tmp_path):
    table = pa.table({"image": IMAGES, "label": [0, -1, 1]}).replace_schema_metadata(HEADER_OF_NAMES)
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"1 row\(s\) have no label of its 2 classes, the first is row 2"):
        datasets.build("parquet", path=str(tmp_path / "a.parquet"))
    path = streams.write_parquet(tmp_path / "set", folder, files=1)
    write(path / "data" / "train-2.parquet", image=IMAGES, label=[1, 2, 3])
    with pytest.raises(UserError, match=r"train-2\.parquet has other columns or names"):
        datasets.build("parquet", path=str(path))
    with pytest.raises(UserError, match=r"no file of split 'test'; its files begin with train, train-2"):
        datasets.build("parquet", path=f"{path}#test")
    with pytest.raises(FileNotFoundError):
        datasets.build("parquet", path=str(tmp_path / "none"))


def test_files_changed_at_random_are_refused_or_have_all_images(folder, tmp_path, monkeypatch):
    path = next((streams.write_parquet(tmp_path / "set", folder, files=1) / "data").iterdir())
    content, rng, kinds = path.read_bytes(), np.random.default_rng(0), {"refused": 0, "one refused": 0, "survived": 0}
    expected = [folder[place]["image"] for place in range(21)]
    for turn in range(400):
        mutated = odd_mutations.mutate(content, rng, same_length=turn % 2 == 1)
        if turn % 4 == 0:  # a file cut short
            mutated = content[:rng.integers(len(content))]
        path.write_bytes(mutated)
        try:
            source = datasets.build("parquet", path=str(path))
            assert len(source) == 21
            found, refused = [], 0
            for place in range(21):
                try:
                    found.append(source[place]["image"])
                except UserError as error:
                    assert "\n" not in str(error)
                    refused += 1
            kinds["one refused" if refused else "survived"] += 1
            assert refused or found == expected
        except UserError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            kinds["refused"] += 1
    assert kinds["refused"] > 50 and kinds["one refused"] > 50
