import os
import pathlib
import pickle
import tarfile

import numpy as np
import pytest

from geodesic import datasets
from geodesic.configs import default
from geodesic.datasets import attempts, buckets, disk_cache
from geodesic.datasets.sources import webdataset
from geodesic.errors import UserError
from tests.datasets import images, odd_mutations, streams

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def folder(tmp_path):
    return datasets.build("image_folder", path=str(images.make_folder(tmp_path / "photos", 3, 4)))


def tar(path: pathlib.Path, *members: tuple[str, bytes], **options) -> str:
    with tarfile.open(path, "w", **options) as opened:
        for name, content in members:
            streams.add(opened, name, content)
    return str(path)


JPEG = images.encoded(images.pixels(0))


@pytest.mark.parametrize("field", ["cls", "json", "txt", "folder"])
def test_the_batches_are_those_of_the_same_images_in_a_folder(folder, tmp_path, field):
    path = streams.write_shards(tmp_path / "shards", folder, field=field)
    source = datasets.build("webdataset", path=path)
    assert source.class_names == folder.class_names and source.labels.tolist() == folder.labels.tolist()
    assert streams.same(streams.batches(source), streams.batches(folder))
    by_folder = datasets.build("webdataset", path=str(tmp_path / "shards"))
    assert by_folder.record_names() == source.record_names()
    assert not source.remarks


def test_loader_processes_and_a_resumed_run_make_the_same_batches(folder, tmp_path):
    source = datasets.build("webdataset", path=streams.write_shards(tmp_path / "shards", folder))
    whole = streams.batches(folder, steps=6)
    assert streams.same(streams.batches(source, steps=3, first_step=3, workers=2), whole[3:])
    parts = [streams.batches(source, 6, process_index=process, process_count=2) for process in range(2)]
    joined = [{key: np.concatenate([one[key], other[key]]) for key in one} for one, other in zip(*parts, strict=True)]
    assert streams.same(joined, whole)


def test_a_bucket_gives_the_same(folder, tmp_path, monkeypatch):
    streams.write_shards(tmp_path / "buckets" / "faces", folder)
    bucket = streams.use_bucket(monkeypatch, tmp_path / "buckets")
    source = datasets.build("webdataset", path="gs://faces/shard-{00..02}.tar")
    assert pickle.loads(pickle.dumps(source)).paths[0] == "gs://faces/shard-00.tar/0000.jpg"
    assert source.record_names() == datasets.build("webdataset", path=str(tmp_path / "buckets")).record_names()
    bucket.failures += [ConnectionResetError("by peer"), OSError(16, "slow down"), TimeoutError()]
    assert streams.same(streams.batches(source, threads=1), streams.batches(folder))
    assert not bucket.failures
    asked = bucket.asked
    part = datasets.build("webdataset", path="gs://faces", classes=(1, 3))  # the part of a source reads ahead too
    assert streams.same(streams.batches(part), streams.batches(datasets.Classes(folder, 1, 3)))
    assert bucket.asked - asked <= len(part)  # what was read before lies on this disk


@pytest.mark.parametrize("part", [{}, {"classes": (1, 3)}, {"test_share": 0.25}, {"folds": 3}])
def test_a_bucket_is_asked_once_for_each_batch(folder, tmp_path, monkeypatch, part):
    monkeypatch.setenv("GEODESIC_CACHE_GB", "0")
    streams.write_shards(tmp_path / "buckets" / "faces", folder)
    bucket = streams.use_bucket(monkeypatch, tmp_path / "buckets")
    source = datasets.build("webdataset", path="gs://faces", **part)
    bucket.calls = bucket.asked = 0
    made = streams.batches(source, 12, threads=1)
    assert 12 <= bucket.calls <= 15 and bucket.asked > 30  # some are made ahead
    whole = datasets.build("webdataset", path=str(tmp_path / "buckets" / "faces"), **part)
    assert streams.same(made, streams.batches(whole, 12))
    bucket.calls = 0
    config = default.get_config()
    config.input.image_size = 16
    assert sum(batch["mask"].sum() for batch in datasets.eval_batches(
        source, input=config.input, batch_size=4, process_index=0, process_count=1, threads=1)) == len(source)
    assert bucket.calls == -(-len(source) // 4)


def test_a_bucket_that_stays_away_ends_the_run_in_place_of_showing_other_images(folder, tmp_path, monkeypatch):
    streams.write_shards(tmp_path / "buckets" / "faces", folder)
    bucket = streams.use_bucket(monkeypatch, tmp_path / "buckets")
    source = datasets.build("webdataset", path="gs://faces")
    bucket.failures += [ConnectionResetError("by peer")] * 1000
    with pytest.raises(attempts.UnreachableError, match=r"shard-0.\.tar cannot be reached: by peer"):
        streams.batches(source, threads=1, tolerance_percent=100.0)
    bucket.failures[:] = []
    # A shard that was exchanged for a shorter one is damaged, and no other image takes its place without a word.
    for path in (tmp_path / "buckets" / "faces").glob("*.tar"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError):
        streams.batches(source)


def test_an_index_is_made_once_and_again_when_a_shard_is_another(folder, tmp_path, monkeypatch):
    path = streams.write_shards(tmp_path / "shards", folder, shards=1)
    shard = tmp_path / "shards" / "shard-00.tar"
    before = datasets.build("webdataset", path=path)
    kept = tmp_path / "shards" / "shard-00.tar.geodesic"
    assert kept.exists()
    with monkeypatch.context() as patched:
        patched.setattr(webdataset, "_members", None)
        assert datasets.build("webdataset", path=path).record_names() == before.record_names()
    whole = kept.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(50):  # an index that is damaged is none
        kept.write_bytes(odd_mutations.mutate(whole, rng))
        again = datasets.build("webdataset", path=path)
        assert again.record_names() == before.record_names() and again.labels.tolist() == before.labels.tolist()
        assert kept.read_bytes() == whole
    os.utime(shard, ns=(1, 1))
    tar(shard, ("x.jpg", JPEG), ("x.cls", b"7"))
    assert datasets.build("webdataset", path=path).class_names == ["7"]


def test_where_nothing_can_be_written_the_index_is_kept_in_the_cache_folder(folder, tmp_path, monkeypatch):
    path = streams.write_shards(tmp_path / "shards", folder, shards=1)
    store = buckets.store

    def refuse(to, content):
        if to.startswith(str(tmp_path / "shards")):
            raise PermissionError(to)
        store(to, content)

    monkeypatch.setattr(buckets, "store", refuse)
    before = datasets.build("webdataset", path=path)
    monkeypatch.setattr(webdataset, "_members", None)
    assert datasets.build("webdataset", path=path).record_names() == before.record_names()
    assert len(list((disk_cache.folder() / "indexes").iterdir())) == 1


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_names_of_any_length_and_script(tmp_path, format_):
    names = ["a/0", "é/1", "你/2"] + ([f"{'long' * 40}/3"] if format_ != tarfile.USTAR_FORMAT else [])
    path = tar(tmp_path / "odd.tar", *((f"{name}.left.JPG", JPEG) for name in names), format=format_)
    source = datasets.build("webdataset", path=path)
    assert [one.removeprefix(f"{path}/") for one in source.paths] == [f"{name}.left.JPG" for name in names]
    assert sorted(source.class_names) == sorted(os.path.dirname(name) for name in names)
    assert source[len(names) - 1]["image"] == JPEG


def test_what_is_no_image_is_said(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as opened:
        link, inner = tarfile.TarInfo("b.jpg"), tarfile.TarInfo("inner")
        link.type, inner.type = tarfile.SYMTYPE, tarfile.DIRTYPE
        for info in (link, inner):
            opened.addfile(info)
        for name, content in (("0.jpg", JPEG), ("0.cls", b"3"), ("1.cls", b"3"), ("._0.jpg", b"notes")):
            streams.add(opened, name, content)
    source = datasets.build("webdataset", path=str(tmp_path / "a.tar"))
    assert len(source) == 1 and source.class_names == ["3"]
    assert source.remarks == [f"{tmp_path}/a.tar: passed over 1 name(s) without an image, 1 folder(s), 1 hidden "
                              f"file(s), 1 link(s) and the like"]


@pytest.mark.parametrize(("members", "message"), [
    ([("0.jpg", JPEG), ("0.cls", b"1"), ("1.jpg", JPEG)], "'1' has no .cls"),
    ([("0.jpg", JPEG), ("0.cls", b"  ")], "'0' has no label in its .cls"),
    ([("0.jpg", JPEG), ("0.cls", b"\xff\xfe")], "no text in UTF-8"),
    ([("0.jpg", JPEG), ("0.cls", b"a\0b")], "zero byte"),
    ([("0.jpg", JPEG), ("0.json", b'{"label": ')], "the .json of '0' cannot be read"),
    ([("0.jpg", JPEG), ("0.json", b'{"label": [1, 2]}')], "expected a text or a number"),
    ([("0.jpg", JPEG), ("0.json", b'{"label": 1}'), ("1.jpg", JPEG), ("1.json", b"{}")], "'1' has no label"),
    ([("0.jpg", JPEG), ("0.png", JPEG)], "several images of one name, '0': jpg, png"),
    ([("0.jpg", JPEG), ("0.jpg", JPEG)], "'0.jpg' twice"),
    ([("0.jpg", JPEG), ("1.jpg", JPEG), ("0.jpg", JPEG)], "'0' twice, apart"),
    ([("0.cls", b"1")], "has no image"),
])
def test_what_is_refused(tmp_path, members, message):
    with pytest.raises(UserError, match=message):
        datasets.build("webdataset", path=tar(tmp_path / "a.tar", *members))


def test_labels_of_two_kinds_a_missing_shard_and_a_compressed_one(tmp_path):
    tar(tmp_path / "0.tar", ("a/0.jpg", JPEG))
    tar(tmp_path / "1.tar", ("0.jpg", JPEG), ("0.cls", b"1"))
    with pytest.raises(UserError, match=r"labels come from folder in .*0\.tar, cls in .*1\.tar"):
        datasets.build("webdataset", path=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no file '.*2\.tar'"):
        datasets.build("webdataset", path=f"{tmp_path}/{{0..2}}.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no \.tar below it"):
        datasets.build("webdataset", path=str(tmp_path / "empty"))
    with tarfile.open(tmp_path / "2.tar", "w:gz") as opened:
        streams.add(opened, "0.jpg", JPEG)
    with pytest.raises(UserError, match="is compressed"):
        datasets.build("webdataset", path=str(tmp_path / "2.tar"))
    with pytest.raises(UserError, match=r"http:// is not read"):
        datasets.build("webdataset", path="http://host/a.tar")


def test_labels_are_texts_and_in_the_order_of_their_values(tmp_path):
    members = [(f"{place}.{kind}", content) for place, label in enumerate([b"10", b"9", b" 10\n", b"07"])
               for kind, content in (("jpg", JPEG), ("cls", label))]
    source = datasets.build("webdataset", path=tar(tmp_path / "a.tar", *members))
    assert source.class_names == ["07", "9", "10"] and source.labels.tolist() == [2, 1, 2, 0]


def test_a_shard_cut_anywhere_is_refused(folder, tmp_path):
    path = pathlib.Path(streams.write_shards(tmp_path, folder, shards=1).replace("{00..00}", "00"))
    content = path.read_bytes()
    end = len(content.rstrip(b"\0"))
    for size in [*range(1, end, 500), *range(512, end, 512)]:
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match="damaged"):
            datasets.build("webdataset", path=str(path))


def test_shards_changed_at_random_are_refused_or_have_all_images(folder, tmp_path):
    path = pathlib.Path(streams.write_shards(tmp_path, folder, shards=1).replace("{00..00}", "00"))
    content, rng, kinds = path.read_bytes(), np.random.default_rng(0), {"refused": 0, "survived": 0}
    for _ in range(300):
        path.write_bytes(odd_mutations.mutate(content, rng))
        try:
            source = datasets.build("webdataset", path=str(path))
            assert [pathlib.Path(one).name for one in source.paths] == [f"{place:04}.jpg" for place in range(12)]
            assert all(len(source[place]["image"]) == len(folder[place]["image"]) for place in range(12))
            kinds["survived"] += 1
        except UserError as error:
            assert "\n" not in str(error)
            kinds["refused"] += 1
    assert min(kinds.values()) > 20
