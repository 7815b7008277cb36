"""What every engine of a gallery does alike: rows in order, every change seen by others, and the same answers."""

import threading

import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.experiments.galleries import adding, approximate, engines, lance, table
from geodesic.experiments.galleries.gallery import Gallery
from tests.experiments.galleries import fake

INFO = {"model": {"size": 8}, "identity": {}, "vectors": "float32", "threshold": None}


def rows(*names: str) -> tuple[dict, np.ndarray]:
    """Columns, and unit vectors that follow from the names."""
    run = fake.Run()
    vectors = np.stack([run.vector(name.encode())[:8] for name in names])
    columns = {column: [f"{column} of {name}" for name in names] for column in table.COLUMNS}
    return columns | {"id": list(names)}, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def content(opened) -> dict[str, np.ndarray]:
    """id -> stored vector, in the order of the rows; what the columns say is looked at."""
    listed, found = opened.columns().to_pylist(), {}
    for batch in opened.batches():
        stored = np.stack(batch["vector"].to_pylist()).astype(np.float32) * batch["scale"].to_numpy()[:, None]
        found |= dict(zip(batch["id"].to_pylist(), stored, strict=True))
    assert [row["id"] for row in listed] == [*found] and opened.count() == len(found)
    assert all(row[name] == f"{name} of {row['id']}" for row in listed for name in table.COLUMNS[1:])
    return found


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_rows_are_kept_in_order_and_others_see_every_change(address, dtype):
    engine = engines.of(address)
    if dtype == "int8" and address.startswith("qdrant"):
        with pytest.raises(UserError, match="keeps vectors of float32 or float16"):
            engine.create(address, INFO | {"vectors": dtype})
        return
    assert not engine.exists(address)
    opened = engine.create(address, INFO | {"vectors": dtype})
    other = engine.open_table(address)
    assert engine.exists(address) and opened.info["vectors"] == other.info["vectors"] == dtype and not content(other)
    columns, vectors = rows("b", "o'brien \\ ü", "c", "a")
    opened.write(columns, vectors)
    before = other.version
    assert other.refresh() != before and other.refresh() == opened.refresh()
    assert [*content(other)] == ["b", "o'brien \\ ü", "c", "a"]
    tolerance = {"float32": 0, "float16": 1e-3, "int8": 1e-2}[dtype]
    np.testing.assert_allclose([*content(other).values()], vectors, rtol=0, atol=tolerance)
    other.refresh()
    other.write(*rows("c", "d"))  # what is written again is last
    opened.refresh()
    assert [*content(opened)] == ["b", "o'brien \\ ü", "a", "c", "d"]
    opened.delete(["o'brien \\ ü", "d"])
    other.refresh()
    other.compact()
    assert opened.refresh() == other.refresh()
    assert [*content(other)] == ["b", "a", "c"]
    np.testing.assert_array_equal(content(other)["b"], content(opened)["b"])
    assert opened.note() is None
    opened.set_note({"kind": "x"})
    assert other.note() == {"kind": "x"}
    opened.set_note(None)
    assert other.note() is None


def test_one_table_takes_the_place_of_another_at_once(address):
    engine = engines.of(address)
    opened = engine.create(address, INFO)
    opened.write(*rows("a", "b"))
    opened.refresh()
    reader = engine.open_table(address)
    beside = engine.create(address, INFO | {"vectors": "float16"}, table.MIGRATED)
    beside.write(*rows("a", "c"))
    beside = engine.open_table(address, table.MIGRATED)
    assert [*content(reader)] == ["a", "b"]
    before = reader.version
    opened.replace(beside)
    engine.drop(address, table.MIGRATED)
    assert reader.refresh() != before and reader.info["vectors"] == "float16" == opened.info["vectors"]
    assert [*content(reader)] == [*content(opened)] == ["a", "c"]
    assert not engine.exists(address, table.MIGRATED) and engine.exists(address)
    engine.create(address, INFO, table.MIGRATED)  # once more
    opened.replace(engine.open_table(address, table.MIGRATED))
    reader.refresh()
    assert not content(reader) and reader.info["vectors"] == "float32"


def test_a_gallery_answers_as_one_in_a_folder_does(address, photos, tmp_path):
    there, here = Gallery(address, fake.Run()), Gallery(tmp_path / "here", fake.Run())
    query = str(photos / "ann/0.jpg")
    for gallery in (there, here):
        assert gallery.create().add(photos) == adding.Change(added=15, skipped=[], vanished=[])
    assert there.rows() == here.rows() and there.search(query, k=20) == here.search(query, k=20)
    reader = Gallery(address, fake.Run())
    assert reader.search(query, k=20) == here.search(query, k=20)
    (photos / "ann/1.jpg").write_text("cid again")
    (photos / "bob/1.jpg").unlink()
    (photos / "eve.jpg").write_text("eve")
    for gallery in (there, here):
        change = gallery.add(photos)
        assert (change.added, change.changed, change.unchanged, len(change.vanished)) == (1, 1, 13, 1)
        assert gallery.update(remove_vanished=True).removed == 1
        assert gallery.remove([str(photos / "cid")]) == 5
        gallery.compact()
    listed = lambda gallery: sorted(gallery.rows(), key=lambda row: row["id"])
    assert listed(there) == listed(reader) == listed(here) and len(reader) == 10
    for other in (there, reader, Gallery(address, fake.Run())):
        assert other.search(query, k=20) == here.search(query, k=20) and other.check().problems == []
    with pytest.raises(UserError, match="is a gallery already"):
        there.create()
    with pytest.raises(UserError, match="was made by another model: the weights' digest"):
        Gallery(address, fake.Run(seed=1)).add(photos)
    assert there.export(str(tmp_path / "out.parquet")) == 10


def test_a_migration_goes_on_and_switches_at_once(address, photos):
    gallery, run = Gallery(address, fake.Run()), fake.Run(seed=1)
    gallery.create().add(photos)
    query = str(photos / "ann/0.jpg")
    before = gallery.search(query)
    assert Gallery(address, run, stop=lambda: True).migrate().stopped and run.embedded == 8
    assert gallery.search(query) == before
    done = Gallery(address, run).migrate(dtype="float16")  # another dtype: it begins anew
    assert (done.rows, done.stopped, run.embedded) == (15, False, 8 + 15) and 0.5 < done.overlap < 1
    with pytest.raises(UserError, match="was made by another model"):
        gallery.search(query)  # which was open all the time
    new = Gallery(address, run)
    assert new.search(query) != before and new.check().problems == [] and new.info["vectors"] == "float16"
    again = fake.Run(seed=2)
    assert Gallery(address, again, stop=lambda: True).migrate().stopped
    assert Gallery(address, again).migrate().rows == 15 and again.embedded == 15


def test_where_no_gallery_is_that_is_said(address):
    with pytest.raises(FileNotFoundError, match=r"no gallery in '.*': make one with geodesic gallery create"):
        Gallery(address, fake.Run()).rows()
    assert not engines.of(address).exists(address)


@pytest.mark.parametrize("address", ["folder", "postgresql", *(
    pytest.param(engine, marks=pytest.mark.slow) for engine in ("s3", "qdrant"))], indirect=True)
def test_an_index_is_measured_and_refused_below(address, tmp_path, monkeypatch):
    monkeypatch.setattr(approximate, "_LEAST", 100)
    monkeypatch.setattr(approximate, "_QUERIES", 20)
    many = fake.folder(tmp_path / "many", {f"{place}.jpg": f"{'abcd'[place % 4]}{place}" for place in range(120)})
    gallery = Gallery(address, fake.Run()).create()
    gallery.add(many)
    query = str(many / "7.jpg")
    for kind in engines.of(address).INDEXES if address.startswith("p") else [*engines.of(address).INDEXES][:1]:
        made = gallery.compact(kind, recall=0.9)
        assert made["kind"] == kind and made["recall@10"] > 0.9 and made["recall@100"] > 0.9
        assert gallery.search(query, k=5, index=kind) == gallery.search(query, k=5)
        gallery.add([str(many / "7.jpg")])
        with pytest.raises(UserError, match=r"less than --recall=1.1"):
            gallery.search(query, index=kind, recall=1.1)
        with pytest.raises(UserError, match=r"less than --recall=1.1, so that it is not kept"):
            gallery.compact(kind, recall=1.1)
        with pytest.raises(UserError, match="has no index"):
            gallery.search(query, index=kind)
    with pytest.raises(UserError, match=r"there is no index 'odd' in .*; known are "):
        gallery.compact("odd")


def test_an_index_is_measured_as_it_is_asked(tmp_path, monkeypatch):
    """A query for 10 looks at less than one for 100 does: its recall is not that of the first 10 of 100."""
    monkeypatch.setattr(approximate, "_LEAST", 100)
    monkeypatch.setattr(approximate, "_QUERIES", 3)
    many = fake.folder(tmp_path / "many", {f"{place}.jpg": f"{'abcd'[place % 4]}{place}" for place in range(120)})
    gallery = Gallery(tmp_path / "g", fake.Run()).create()
    gallery.add(many)
    near, asked = lance.Table.near, []
    monkeypatch.setattr(lance.Table, "index", lambda opened, kind, rows: None)
    monkeypatch.setattr(lance.Table, "near", lambda opened, query, k, kind, probes: (
        asked.append(k), near(opened, query, k if k > 11 else 6, "ivf_flat", probes))[1])
    made = gallery.compact("ivf_flat", recall=0.0)
    assert asked == [11, 101] * 3 and made["recall@10"] == 0.5 and made["recall@100"] == 1.0


@pytest.mark.parametrize("address", ["folder", "s3", "postgresql"], indirect=True)  # Qdrant has no locks
def test_of_two_writers_the_second_waits(address, photos, capfd):
    gallery, changes, told = Gallery(address, fake.Run()).create(), [], ""
    threads = [threading.Thread(target=lambda: changes.append(Gallery(address, fake.Run()).add(photos)))
               for _ in range(2)]
    with engines.of(address).writing(address):
        for thread in threads:
            thread.start()
        while max(told.count("is in use by "), told.count("it is taken over if ")) < 2:
            told += "".join(capfd.readouterr())
        assert len(gallery) == 0
    for thread in threads:
        thread.join()
    assert sorted(change.added for change in changes) == [0, 15] and gallery.check().problems == []
