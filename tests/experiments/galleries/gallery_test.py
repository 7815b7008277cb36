"""Every verb of a gallery, with a run whose vectors follow from the bytes of a picture."""

import json
import os
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest

from geodesic.errors import UserError
from geodesic.experiments.galleries import adding, approximate, lance, pictures, table
from geodesic.experiments.galleries.gallery import Gallery
from geodesic.experiments.process import lock, storage
from geodesic.experiments.trained import embedding_file
from tests.experiments.galleries import fake

PHOTOS = {f"{name}/{place}.jpg": f"{name}{place}" for name in ("ann", "bob", "cid") for place in range(5)}


@pytest.fixture
def photos(tmp_path):
    return fake.folder(tmp_path / "photos", PHOTOS)


@pytest.fixture
def gallery(tmp_path, photos):
    gallery = Gallery(tmp_path / "gallery", fake.Run()).create()
    assert gallery.add(photos) == adding.Change(added=15, skipped=[], vanished=[])
    return gallery


def paths(gallery) -> list[str]:
    return sorted(row["path"] for row in gallery.rows())


def test_rows_say_what_the_folder_says(gallery, photos):
    assert paths(gallery) == sorted(str(photos / name) for name in PHOTOS) and len(gallery) == 15
    row = next(row for row in gallery.rows() if row["id"].endswith("bob/3.jpg"))
    assert row == {"id": str(photos / "bob/3.jpg"), "path": str(photos / "bob/3.jpg"), "label": "bob", "metadata": {},
                   "digest": pictures.digest({"image": b"bob3"})}


def test_a_folder_that_comes_twice_adds_nothing_and_commits_nothing(gallery, photos):
    version, before = gallery.opened().version, gallery.run.embedded
    change = gallery.add(photos)
    assert (change.added, change.unchanged, gallery.opened().version, gallery.run.embedded) == (0, 15, version, before)


def test_what_has_changed_is_embedded_anew_and_what_has_gone_is_said(gallery, photos):
    gallery.held()
    (photos / "ann/0.jpg").write_text("cid again")
    (photos / "bob/1.jpg").unlink()
    (photos / "cid/new.jpg").write_text("cid new")
    before = gallery.run.embedded
    change = gallery.add(photos)
    assert (change.added, change.changed, change.unchanged) == (1, 1, 13) and gallery.run.embedded == before + 2
    assert change.vanished == [str(photos / "bob/1.jpg")] and len(gallery) == 16
    for held in (gallery, Gallery(gallery.path, fake.Run())):  # kept up in memory, and read again
        kept = held.held()
        row = kept.vectors([kept.places[str(photos / "ann/0.jpg")]])[0]
        np.testing.assert_allclose(row, gallery.run.vector(b"cid again"), rtol=1e-6)
        assert len(kept) == 16


def test_each_commit_says_how_far_it_is_how_fast_and_how_long_it_takes(tmp_path, photos, monkeypatch):
    now, run = [100.0], fake.Run()
    embed_source = run.embed_source
    monkeypatch.setattr(run, "embed_source", lambda source: (now.append(now[-1] + 2), embed_source(source))[1])
    monkeypatch.setattr(adding.progress.time, "monotonic", lambda: now[-1])
    fake.folder(photos, {f"eve/{place}.jpg": "broken" if place == 3 else f"eve{place}" for place in range(10)})
    told = []
    assert Gallery(tmp_path / "g", run, say=told.append).create().add(photos).added == 24
    assert told == ["8 row(s) committed; 8 of 25 pictures done",  # its time is the compiler's
                    "8 row(s) committed; 16 of 25 pictures done, 4.0 img/s, ETA 0:02",
                    "7 row(s) committed; 24 of 25 pictures done, 4.0 img/s, ETA 0:00",
                    "1 row(s) committed; 25 of 25 pictures done, 0.5 img/s, ETA 0:00"]


def test_update_looks_at_the_rows_alone_and_removes_when_asked(gallery, photos):
    (photos / "ann/0.jpg").write_text("ann other")
    (photos / "ann/new.jpg").write_text("ann new")
    (photos / "bob/1.jpg").unlink()
    change = gallery.update(photos / "bob")
    assert (change.added, change.changed, change.removed, change.vanished) == (0, 0, 0, [str(photos / "bob/1.jpg")])
    change = gallery.update()
    assert (change.added, change.changed, change.removed, len(gallery)) == (0, 1, 0, 15)
    change = gallery.update(remove_vanished=True)
    assert (change.changed, change.removed, len(gallery)) == (0, 1, 14)
    assert str(photos / "bob/1.jpg") not in paths(gallery)


def test_remove_takes_ids_pictures_and_folders_or_nothing_at_all(gallery, photos):
    gallery.held()
    with pytest.raises(UserError, match=r"'nobody' is neither an id .* nothing removed"):
        gallery.remove([str(photos / "ann"), "nobody"])
    assert len(gallery) == 15
    assert gallery.remove([str(photos / "ann"), str(photos / "bob/2.jpg"), str(photos / "ann/1.jpg")]) == 6
    assert len(gallery) == len(gallery.held()) == 9
    found, = gallery.search(str(photos / "ann/1.jpg"), k=20)
    assert len(found.hits) == 9 and all("/ann/" not in hit.path for hit in found.hits)
    assert gallery.add(photos).added == 6


def test_search_is_exact_and_does_not_find_the_query_itself(gallery, photos):
    rows = {name: gallery.run.vector(content.encode()) for name, content in PHOTOS.items()}
    query = rows["cid/2.jpg"]
    expected = sorted((name for name in rows if name != "cid/2.jpg"), key=lambda name: -float(rows[name] @ query))
    (found,) = gallery.search(str(photos / "cid/2.jpg"), k=4)
    assert [hit.path for hit in found.hits] == [str(photos / name) for name in expected[:4]]
    np.testing.assert_allclose([hit.cosine for hit in found.hits],
                               [rows[name] @ query for name in expected[:4]], rtol=1e-5)
    assert found.answer is None and found.hits[0].known is None and found.hits[0].label == "cid"
    assert len(gallery.search(str(photos / "cid/2.jpg"), k=50)[0].hits) == 14


def test_below_the_threshold_a_picture_is_unknown(gallery, photos, tmp_path):
    (tmp_path / "q.jpg").write_text("zoe")
    query = str(tmp_path / "q.jpg")
    (found,) = gallery.search([query], k=2, threshold=0.99)
    assert found.answer == "unknown" and [hit.known for hit in found.hits] == [False, False]
    (found,) = gallery.search([query], k=2, threshold=-1.0)
    assert found.answer == found.hits[0].label and found.hits[0].known
    best = found.hits[0].cosine
    for limit, answer in ((best, found.hits[0].label), (np.nextafter(np.float32(best), 2), "unknown")):
        calibrated = Gallery(gallery.path, fake.Run(threshold=float(limit)))
        assert calibrated.search([query])[0].answer == answer  # at the threshold it is known
    with pytest.raises(UserError, match="no threshold"):
        gallery.search([query], far=1e-3)


def test_the_threshold_of_the_time_when_it_was_made_is_kept(tmp_path, photos):
    Gallery(tmp_path / "g", fake.Run(threshold=0.42)).create()
    assert Gallery(tmp_path / "g", fake.Run()).threshold() == 0.42
    assert Gallery(tmp_path / "g").threshold() == 0.42
    assert Gallery(tmp_path / "g", fake.Run(threshold=0.5)).threshold() == 0.5


def test_a_manifest_gives_ids_labels_and_metadata(tmp_path, photos):
    people = tmp_path / "people.csv"
    people.write_text("id,path,label,age\na,photos/ann/0.jpg,Ann,31\nb,photos/bob/0.jpg,Bob,\n")
    gallery = Gallery(tmp_path / "g", fake.Run()).create()
    assert gallery.add(people).added == 2
    rows = {row["id"]: row for row in gallery.rows()}
    assert rows["a"]["label"] == "Ann" and rows["a"]["metadata"] == {"age": "31"}
    assert rows["a"]["path"] == str(photos / "ann/0.jpg")
    before = gallery.run.embedded
    people.write_text("id,path,label,age\na,photos/ann/0.jpg,Anne,32\nb,photos/bob/0.jpg,Bob,\n")
    change = gallery.add(people)
    assert (change.added, change.changed, change.renamed, change.unchanged) == (0, 0, 1, 1)
    assert gallery.run.embedded == before
    rows = {row["id"]: row for row in gallery.rows()}
    assert rows["a"]["label"] == "Anne" and rows["a"]["metadata"] == {"age": "32"}
    np.testing.assert_allclose(gallery.held().vectors([gallery.held().places["a"]])[0], gallery.run.vector(b"ann0"),
                               rtol=1e-6)
    assert gallery.remove("b") == 1
    people.write_text("id,path,label\na,photos/ann/0.jpg,Ann\na,photos/bob/0.jpg,Bob\n")
    with pytest.raises(UserError, match=r"two pictures have the id 'a'"):
        gallery.add(people)


def test_what_cannot_be_read_or_has_no_vector_is_skipped(gallery, photos):
    (photos / "ann/8.jpg").write_text("broken")
    (photos / "ann/9.jpg").write_text("nan")
    change = gallery.add(photos)
    assert change.added == 0 and len(change.skipped) == 2 and len(gallery) == 15
    assert "cannot read the image" in change.skipped[0] and "zero or not finite" in change.skipped[1]
    with pytest.raises(UserError, match="cannot read the image"):
        gallery.search(str(photos / "ann/8.jpg"))
    with pytest.raises(UserError, match="an embedding of a query is not finite"):
        gallery.search(str(photos / "ann/9.jpg"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_every_dtype_finds_the_same_and_says_so_of_itself(tmp_path, photos, dtype):
    gallery = Gallery(tmp_path / "g", fake.Run()).create(dtype)
    gallery.add(photos)
    (found,) = gallery.search(str(photos / "bob/2.jpg"), k=14)
    again = Gallery(gallery.path, fake.Run()).search(str(photos / "bob/2.jpg"), k=14)[0]
    assert found == again  # bit for bit, kept up or read again
    query = gallery.run.vector(b"bob2")
    exact = [gallery.run.vector(open(hit.path, "rb").read()) @ query for hit in found.hits]
    np.testing.assert_allclose([hit.cosine for hit in found.hits], exact,
                               atol={"float32": 1e-6, "float16": 1e-3, "int8": 1e-2}[dtype])
    assert gallery.check().problems == [] and gallery.info["vectors"] == dtype
    with pytest.raises(UserError, match="vectors are float32, float16, int8; got 'float64'"):
        Gallery(tmp_path / "h", fake.Run()).create("float64")
    assert not (tmp_path / "h").exists()


def test_export_is_read_as_a_file_of_embeddings(gallery, tmp_path, photos):
    (photos / "ann/caf\udce9.jpg").write_text("ann e")
    gallery.add(photos)
    out = str(tmp_path / "out.parquet")
    assert gallery.export(out) == 16
    content = embedding_file.read(out)
    assert sorted(content.paths) == paths(gallery) and content.identity == gallery.run.identity
    place = content.paths.index(str(photos / "ann/caf\udce9.jpg"))
    np.testing.assert_allclose(content.embeddings[place], gallery.run.vector(b"ann e"), rtol=1e-6)
    assert content.labels[place] == "ann"
    assert json.loads(pq.read_schema(out).metadata[b"geodesic.gallery"])["model"]["weights"] == gallery.run.digest
    with pytest.raises(UserError, match=r"a \.parquet file"):
        gallery.export(str(tmp_path / "out.csv"))


def test_compact_takes_what_was_removed_off_the_disk(gallery, photos, tmp_path):
    gallery.remove(str(photos / "ann"))
    stored = lambda: b"".join(path.read_bytes() for path in (tmp_path / "gallery").rglob("*.lance") if path.is_file())
    assert b"ann/0.jpg" in stored()
    before = gallery.search(str(photos / "bob/0.jpg"), k=9)
    gallery.compact()
    assert b"ann/0.jpg" not in stored() and b"bob/0.jpg" in stored()
    assert gallery.search(str(photos / "bob/0.jpg"), k=9) == before and gallery.check().problems == []


def test_who_reads_while_another_compacts_reads_again(gallery, photos, monkeypatch):
    gallery.remove(str(photos / "ann"))
    other, batches = Gallery(gallery.path, fake.Run()), lance.Table.batches
    meanwhile = [other]

    def interrupted(opened):
        if meanwhile:  # once
            meanwhile.pop().compact()
            raise UserError("the files of this commit have gone")
        yield from batches(opened)

    monkeypatch.setattr(lance.Table, "batches", interrupted)
    assert len(gallery.held()) == 10
    monkeypatch.setattr(lance.Table, "batches", lambda opened: (_ for _ in ()).throw(UserError("damaged")))
    with pytest.raises(UserError, match="damaged"):
        Gallery(gallery.path, fake.Run()).held()


def test_check_says_what_has_changed_and_what_is_wrong(gallery, photos):
    (photos / "ann/0.jpg").write_text("ann other")
    (photos / "bob/1.jpg").unlink()
    checked = gallery.check()
    assert checked.rows == 15 and len(checked.unchanged) == 13 and checked.problems == []
    assert checked.changed == [str(photos / "ann/0.jpg")] and checked.vanished == [str(photos / "bob/1.jpg")]
    assert checked.cosine == pytest.approx(1, abs=1e-5)
    row = {name: ["odd"] for name in ("id", "path", "label")} | {"metadata": ["{"], "digest": ["00"]}
    gallery.opened().write(row, np.full((1, fake.SIZE), 0.9, np.float32))
    opened = gallery.opened()._table
    opened.add(opened.search().limit(1).to_arrow())  # a row twice
    problems = Gallery(gallery.path).check(look=False).problems
    assert any("the length of its vector is 3.6, and not 1" in line for line in problems)
    assert any("its metadata or digest cannot be read" in line for line in problems)
    assert any("1 id(s) are those of several rows" in line for line in problems)


def test_check_finds_a_row_of_another_picture(gallery, photos):
    row = next(row for row in gallery.opened().columns().to_pylist() if row["path"].endswith("ann/0.jpg"))
    gallery.opened().write({name: [row[name]] for name in table.COLUMNS}, gallery.run.vector(b"zoe")[None])
    assert any("is not of this model and picture" in line for line in gallery.check().problems)


@pytest.mark.slow
def test_an_index_says_what_it_finds_and_is_refused_below(tmp_path, monkeypatch):
    monkeypatch.setattr(approximate, "_LEAST", 300)
    names = {f"{place}.jpg": f"{'abcdefgh'[place % 8]}{place}" for place in range(400)}
    photos = fake.folder(tmp_path / "many", names)
    gallery = Gallery(tmp_path / "g", fake.Run()).create()
    with pytest.raises(UserError, match="an index of 0 rows is of no use"):
        gallery.compact("ivf_flat")
    gallery.add(photos)
    query = str(photos / "7.jpg")
    with pytest.raises(UserError, match=r"has no index: make one with geodesic gallery compact --index=ivf_flat"):
        gallery.search(query, index="ivf_flat")
    made = gallery.compact("ivf_flat", recall=0.9)
    assert made["recall@10"] > 0.9 and made["recall@100"] > 0.9 and made["queries"] == 200
    assert gallery.search(query, index="ivf_flat") == gallery.search(query)
    with pytest.raises(UserError, match=r"recall@10 .* less than --recall=1.1"):
        gallery.search(query, index="ivf_flat", recall=1.1)
    with pytest.raises(UserError, match="is ivf_flat, and not ivf_pq"):
        gallery.search(query, index="ivf_pq")
    with pytest.raises(UserError, match=r"less than --recall=1.1, so that it is not kept"):
        gallery.compact("ivf_sq", recall=1.1)
    assert not gallery.opened()._table.list_indices()
    with pytest.raises(UserError, match="has no index"):
        gallery.search(query, index="ivf_flat")
    small = Gallery(tmp_path / "h", fake.Run()).create("int8")
    with pytest.raises(UserError, match="vectors of int8 cannot be indexed"):
        small.compact("ivf_flat")


def test_migrate_embeds_all_anew_and_switches_at_once(gallery, photos):
    old = gallery.search(str(photos / "ann/0.jpg"), k=3)
    run = fake.Run(seed=1)
    new = Gallery(gallery.path, run)
    with pytest.raises(UserError, match="the weights' digest '0000000000000000' there, '0000000000000001' here"):
        new.add(photos)
    done = new.migrate(dtype="float16")
    assert (done.rows, done.neighbours, done.sampled, done.removed, done.stopped) == (15, 10, 15, [], False)
    assert 0.5 < done.overlap < 1 and new.info["vectors"] == "float16" and new.info["model"]["weights"] == run.digest
    assert new.search(str(photos / "ann/0.jpg"), k=3) != old and new.check().problems == []
    with pytest.raises(UserError, match="made by another model"):
        gallery.search(str(photos / "ann/0.jpg"))  # which was open all the time
    with pytest.raises(UserError, match="is of this model already"):
        new.migrate()
    assert not lance.exists(new.path, table.MIGRATED)


def test_an_interrupted_migration_leaves_the_old_rows_and_goes_on(gallery, photos):
    run, told = fake.Run(seed=1), []
    stopped = Gallery(gallery.path, run, say=told.append, stop=lambda: True).migrate()
    assert stopped.stopped and run.embedded == 8 and told == ["8 row(s) committed; 8 of 15 pictures done"]
    assert gallery.search(str(photos / "ann/0.jpg"))  # the old model's still
    gallery.remove(str(photos / "ann/0.jpg"))
    (photos / "cid/4.jpg").write_text("cid changed")
    with pytest.raises(UserError, match=r"is as it was: 1 of its pictures .*cid/4.jpg: its picture has changed"):
        Gallery(gallery.path, run).migrate()
    assert run.embedded == 8 + 6 and len(gallery) == 14
    gallery.update()
    (photos / "cid/4.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of its pictures are not there: .*cid/4.jpg.*--remove_vanished"):
        Gallery(gallery.path, run).migrate()
    done = Gallery(gallery.path, run).migrate(remove_vanished=True)
    assert (done.rows, done.removed, run.embedded) == (13, [str(photos / "cid/4.jpg")], 14)
    assert paths(gallery) == sorted(str(photos / name) for name in PHOTOS if name not in ("ann/0.jpg", "cid/4.jpg"))


def test_pictures_that_moved_are_migrated_from_where_they_are(gallery, photos, tmp_path):
    photos.rename(tmp_path / "moved")
    people = tmp_path / "moved.csv"
    people.write_text("id,path,label\n" + "".join(f"{photos / name},moved/{name},x\n" for name in PHOTOS))
    run = fake.Run(seed=1)
    with pytest.raises(UserError, match=r"15 of its pictures are not there"):
        Gallery(gallery.path, run).migrate()
    assert Gallery(gallery.path, run).migrate(people).rows == 15
    assert {row["label"] for row in gallery.rows()} == {"ann", "bob", "cid"} and run.embedded == 15


def test_an_interrupted_add_goes_on(tmp_path, photos):
    run = fake.Run()
    change = Gallery(tmp_path / "g", run, stop=lambda: True).create().add(photos)
    assert change.stopped and change.added == 8
    change = Gallery(tmp_path / "g", run).add(photos)
    assert (change.stopped, change.added, change.unchanged, run.embedded) == (False, 7, 8, 15)


def test_two_writers_wait_for_one_another_and_both_do_their_work(gallery, photos, capfd):
    fake.folder(photos, {f"{name}/{place}.jpg": f"{name}{place}" for name in ("dan", "eve") for place in range(40)})
    changes, told = [], ""
    threads = [threading.Thread(target=lambda: changes.append(Gallery(gallery.path, fake.Run()).add(photos)))
               for _ in range(2)]
    with lock.held(gallery.path):
        for thread in threads:
            thread.start()
        while told.count(f"is in use by process {os.getpid()} on ") < 2:
            told += capfd.readouterr().err
        assert len(gallery) == 15
    for thread in threads:
        thread.join()
    assert sorted(change.added for change in changes) == [0, 80] and len(gallery) == 95
    assert gallery.check().problems == []


def test_create_spares_what_is_there(gallery, photos, tmp_path):
    with pytest.raises(UserError, match="is a gallery already"):
        gallery.create()
    with pytest.raises(UserError, match="is there, and is no gallery"):
        Gallery(photos, fake.Run()).create()
    with pytest.raises(FileNotFoundError, match="no gallery in"):
        Gallery(tmp_path / "none", fake.Run()).add(photos)
    assert not (tmp_path / "none").exists() and len(gallery) == 15
    with pytest.raises(UserError, match=r"^redis://ann@host/x: there is no gallery redis://; known are folders"):
        Gallery("redis://ann:s3cret@host/x", fake.Run())
    with pytest.raises(UserError, match="this needs the model"):
        Gallery(gallery.path).add(photos)
    with pytest.raises(UserError, match="has no rows"):
        Gallery(tmp_path / "g", fake.Run()).create().search(str(photos / "ann/0.jpg"))
    with pytest.raises(UserError, match="k=0"):
        gallery.search(str(photos / "ann/0.jpg"), k=0)


def test_pictures_may_lie_in_a_bucket(bucket, tmp_path):
    for name in ("ann/0.jpg", "ann/1.jpg", "bob/0.jpg"):
        storage.write(f"{bucket}/photos/{name}", PHOTOS[name].encode())
    gallery = Gallery(tmp_path / "g", fake.Run()).create()
    assert gallery.add(f"{bucket}/photos").added == 3
    assert paths(gallery) == [f"{bucket}/photos/{name}" for name in ("ann/0.jpg", "ann/1.jpg", "bob/0.jpg")]
    storage.write(f"{bucket}/photos/ann/0.jpg", b"ann changed")
    storage.remove(f"{bucket}/photos/ann/1.jpg")
    assert gallery.add(f"{bucket}/photos").vanished == [f"{bucket}/photos/ann/1.jpg"]
    change = gallery.update(remove_vanished=True)
    assert (change.changed, change.unchanged, change.removed) == (0, 2, 1)
    found, = gallery.search(f"{bucket}/photos")[:1]
    assert [hit.path for hit in found.hits] == [f"{bucket}/photos/bob/0.jpg"]
    assert gallery.remove(f"{bucket}/photos/bob") == 1 and gallery.check().unchanged == [f"{bucket}/photos/ann/0.jpg"]
