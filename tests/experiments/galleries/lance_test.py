"""A gallery on a disk: full, damaged, missing, or with its writer killed at any moment."""

import errno
import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

from geodesic.errors import UserError
from geodesic.experiments.galleries import lance, table
from geodesic.experiments.galleries.gallery import Gallery
from geodesic.experiments.process import storage
from tests.experiments.galleries import addresses, fake
from tests.faults import faults

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def small(tmp_path):
    """A disk of 2 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting a small disk takes root")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("moment", ["create", "add", "update", "compact", "migrate"])
def test_a_full_disk_is_one_line_and_the_gallery_is_whole(small, tmp_path, moment):
    photos = fake.folder(tmp_path / "photos", {f"{place}.jpg": f"a{place}" for place in range(30)})
    gallery, filler = Gallery(small / "gallery", fake.Run()), small / "filler"
    if moment != "create":
        gallery.create().add(photos)
        (photos / "30.jpg").write_text("b")
        (photos / "3.jpg").write_text("b3")
    faults.fill(filler)
    act = {"create": gallery.create, "add": lambda: gallery.add(photos), "update": gallery.update,
           "compact": gallery.compact, "migrate": lambda: Gallery(gallery.path, fake.Run(seed=1)).migrate()}[moment]
    if moment == "migrate":
        (photos / "3.jpg").write_text("a3")
    with pytest.raises(OSError, match=r"(?i)no space left on") as error:
        act()
    assert error.value.errno == errno.ENOSPC and "\n" not in str(error.value)
    if moment != "create":
        found = Gallery(gallery.path, fake.Run())
        assert len(found) == 30 and found.check().problems == [] and found.search(str(photos / "5.jpg"))[0].hits
    filler.unlink()
    act()
    whole = Gallery(gallery.path)
    assert len(whole) == {"create": 0, "add": 31}.get(moment, 30) and whole.check(look=False).problems == []


def test_without_lancedb_it_is_one_line_and_nothing_is_made(tmp_path, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lancedb" else there(name))
    told = r"^a gallery needs lancedb, which is not installed: pip install 'geodesic\[gallery\]'$"
    gallery = Gallery(tmp_path / "g", fake.Run())
    for act in (gallery.create, lambda: gallery.add(["a.jpg"])):
        with pytest.raises(UserError, match=told):
            act()
    assert not (tmp_path / "g").exists()


def test_a_damaged_table_is_one_line(tmp_path):
    photos = fake.folder(tmp_path / "photos", {f"{place}.jpg": f"a{place}" for place in range(3)})
    Gallery(tmp_path / "g", fake.Run()).create().add(photos)
    for path in (tmp_path / "g" / "rows.lance" / "data").iterdir():
        path.write_bytes(b"damaged" * 9)
    with pytest.raises(UserError, match="cannot be used: ") as error:
        Gallery(tmp_path / "g", fake.Run()).check()
    assert "\n" not in str(error.value)
    for path in (tmp_path / "g" / "rows.lance" / "_versions").iterdir():
        path.write_bytes(b"damaged" * 9)
    with pytest.raises(UserError, match="cannot be used: "):
        Gallery(tmp_path / "g", fake.Run()).rows()


def test_a_gallery_that_was_killed_while_it_was_made_is_made_anew(tmp_path):
    (tmp_path / "g" / "rows.lance" / "_transactions").mkdir(parents=True)
    (tmp_path / "g" / ".lock").write_text("")
    assert not lance.exists(str(tmp_path / "g"))
    assert len(Gallery(tmp_path / "g", fake.Run()).create()) == 0


def test_any_id_can_be_written_and_deleted(tmp_path):
    gallery = Gallery(tmp_path / "g", fake.Run()).create()
    ids = ["o'brien", "a\\b", 'say "x"', "%", "_", "a\nb", "名", "'; --", "\\'", " ", "{}"]
    columns = {name: ids for name in table.COLUMNS}
    gallery.opened().write(columns, gallery.run.vector(b"a") + 0 * fake.np.zeros((len(ids), 1), "float32"))
    for left, name in zip(range(len(ids) - 1, -1, -1), ids, strict=True):
        gallery.opened().delete([name])
        assert len(gallery) == left and name not in gallery.opened().columns()["id"].to_pylist()


@pytest.mark.slow
def test_killed_at_any_moment_nothing_acknowledged_is_lost_doubled_or_comes_back(tmp_path):
    done = subprocess.run([sys.executable, "-m", "tests.experiments.galleries.killed", tmp_path, "25"], cwd=ROOT,
                          capture_output=True, text=True, timeout=1800, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    assert done.returncode == 0 and "'migrate': 5" in done.stdout, done.stdout + done.stderr


@pytest.fixture
def away(request) -> str:
    """An address in a bucket."""
    return addresses.new("s3", request)


def test_a_lease_that_another_writer_has_taken_over_commits_nothing(away, tmp_path):
    photos = fake.folder(tmp_path / "photos", {"a.jpg": "a", "b.jpg": "b"})
    gallery = Gallery(away, fake.Run()).create()
    with gallery.writing():
        held, = storage.names(f"{away}/.lock")[:1]
        storage.write(f"{away}/.lock/{int(held) + 1:06}", b"{}")
        for act in (lambda: gallery._commit({name: ["x"] for name in table.COLUMNS}, gallery.run.vector(b"a")[None]),
                    gallery.opened().compact):
            with pytest.raises(PermissionError, match="another run has taken it over"):
                act()
        storage.remove(f"{away}/.lock/{int(held) + 1:06}")
    assert len(gallery) == 0 and gallery.add(photos).added == 2


def test_a_service_without_conditional_writes_is_said(away, monkeypatch, capsys):
    told = "lies in a service without conditional writes: nothing keeps a second writer out of it"
    gallery = Gallery(away, fake.Run()).create()
    gallery.compact()
    assert told not in capsys.readouterr().err
    monkeypatch.setattr(storage, "create", lambda path, content: storage.write(path, content) or True)
    gallery.compact()
    assert f"{away} {told}" in capsys.readouterr().err


def test_what_a_bucket_refuses_is_one_line(away, monkeypatch, tmp_path):
    Gallery(away, fake.Run()).create()
    with pytest.raises(FileNotFoundError, match="no gallery in 's3://nowhere/people'"):
        Gallery("s3://nowhere/people", fake.Run()).rows()
    with pytest.raises(UserError, match=r"^s3://nowhere/people cannot be written: there is no such bucket"):
        Gallery("s3://nowhere/people", fake.Run()).create()
    with pytest.raises(UserError, match=r"^s3:people: expected s3://BUCKET/FOLDER$"):
        Gallery("s3:people", fake.Run())
    name = f"{away}/rows.lance/_versions"
    storage.write(f"{name}/{storage.names(name)[0]}", b"damaged" * 9)
    with pytest.raises(UserError, match=f"the gallery {away} cannot be used: ") as error:
        Gallery(away, fake.Run()).rows()
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="is there, and is no gallery: give another --gallery"):
        Gallery(away.removesuffix("/people"), fake.Run()).create()


@pytest.mark.slow
def test_killed_at_any_moment_in_a_bucket(away, tmp_path):
    done = subprocess.run([sys.executable, "-m", "tests.experiments.galleries.killed", tmp_path, "10", "0", away],
                          cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0 and "'migrate': 2" in done.stdout, done.stdout + done.stderr


def test_rows_are_read_in_pages_and_none_twice(tmp_path, monkeypatch):
    photos = fake.folder(tmp_path / "photos", {f"{place:02}.jpg": f"a{place}" for place in range(25)})
    gallery = Gallery(tmp_path / "gallery", fake.Run()).create()
    gallery.add(photos)
    (photos / "30.jpg").write_text("b")
    gallery.add(photos)
    gallery.remove([str(photos / f"{place:02}.jpg") for place in (0, 7, 8, 24)])
    whole = [(row["id"], row["vector"]) for batch in gallery.opened().batches() for row in batch.to_pylist()]
    monkeypatch.setattr(lance, "_PAGE", 4)
    paged = [(row["id"], row["vector"]) for batch in gallery.opened().batches() for row in batch.to_pylist()]
    assert paged == whole and len({name for name, _ in paged}) == len(paged) == 22
