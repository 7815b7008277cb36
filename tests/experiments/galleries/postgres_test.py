"""A gallery in PostgreSQL: what a lost lock, a lost connection, a missing extension and a full disk come to."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.experiments.galleries import engines, postgres, postgres_server, table
from geodesic.experiments.galleries.gallery import Gallery
from tests.experiments.galleries import addresses, fake

psycopg = pytest.importorskip("psycopg", reason="needs psycopg (requirements-dev.txt)")
ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def there(request) -> str:
    return addresses.new("postgresql", request)


def test_a_commit_that_finds_another_one_is_refused(there, photos):
    """Of a writer whose lock was lost: nothing of it is there, and nothing of the other is lost."""
    Gallery(there, fake.Run()).create().add(photos)
    one, other = postgres.open_table(there), postgres.open_table(there)
    columns = {name: ["x"] for name in table.COLUMNS}
    one.write(columns, fake.Run().vector(b"x")[None])
    beside = postgres.create(there, one.info, table.MIGRATED)
    for act in (lambda: other.write(columns, fake.Run().vector(b"y")[None]), lambda: other.delete(["x"]),
                lambda: other.replace(beside)):
        with pytest.raises(UserError, match=r"another writer has changed postgresql://.* give the same command again"):
            act()
    assert other.count() == 16 and other.refresh() == one.version
    kept = Gallery(there, fake.Run()).held()
    np.testing.assert_array_equal(kept.vectors([kept.places["x"]])[0], fake.Run().vector(b"x"))


def test_a_connection_that_is_lost_is_made_again(there, photos):
    gallery = Gallery(there, fake.Run()).create()
    gallery.add(photos)
    with psycopg.connect(there.partition("#")[0], autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "
                           "application_name = 'geodesic gallery'")
    with pytest.raises(UserError, match="cannot be used: terminating connection"):
        gallery.rows()
    assert len(gallery.rows()) == 15


def test_the_password_is_never_told(there, monkeypatch, capsys):
    monkeypatch.setattr(postgres_server, "PATIENCE", 1)
    for address in ("postgresql://ann:s3cret@127.0.0.1:9/db#people",
                    "postgresql://ann@127.0.0.1:9/db?gallery=people&password=s3cret",
                    "postgresql://ann:s3%20cret@127.0.0.1:9/db#people",
                    "postgresql://ann:s3 cret@127.0.0.1:9/db#people",
                    "postgresql://ann:p@s3cret@127.0.0.1:9/db#people", "postgresql://ann:s3cret@127.0.0.1:nine/db#a",
                    "postgresql://ann:s3cret@127.0.0.1/db?odd=1#people", "postgresql://ann:s3cret@127.0.0.1/db",
                    "redis://ann:s3cret@127.0.0.1:9/db#people"):
        try:
            gallery = Gallery(address, fake.Run())
            assert "cret" not in gallery.path + str(vars(gallery._engine.parsed(address)).get("place"))
            gallery.create()
        except UserError as error:
            assert "cret" not in str(error) and error.__cause__ is None and "\n" not in str(error)
        else:
            raise AssertionError(address)
    gallery = Gallery(there.replace("postgres:@", "postgres:s3cret@"), fake.Run()).create()
    assert gallery.path == there.replace("postgres:@", "postgres@") and "cret" not in repr(gallery)


def test_an_address_says_its_parts():
    where = postgres_server.parsed("postgresql://ann:s%40crets@host:5/db?sslmode=require&gallery=a_b-1")
    assert (where.name, where.conninfo) == ("a_b-1", "postgresql://ann:s%40crets@host:5/db?sslmode=require")
    assert where.place == "postgresql://ann@host:5/db?sslmode=require&gallery=a_b-1"
    assert where.secrets == ["s%40crets", "s@crets"] and "crets" not in repr(where)
    for address in ("postgresql://host/db", "postgresql://host/db#", 'postgresql://h/d#a"b', "postgresql://h/d#a b"):
        with pytest.raises(UserError, match="has a name of letters, digits, _ and -"):
            engines.of(address)


def test_without_pgvector_or_psycopg_it_is_one_line(there, monkeypatch):
    from geodesic.experiments.galleries.postgres_server import importlib

    address = there.replace("/postgres?", "/bare?")
    with psycopg.connect(there.partition("#")[0], autocommit=True) as connection:
        connection.execute("CREATE DATABASE bare")
    monkeypatch.setattr(postgres, "_EXTENSION", "vectors")
    with pytest.raises(UserError, match=r"^the server of .* has no pgvector: install it there$"):
        Gallery(address, fake.Run()).create()
    with pytest.raises(FileNotFoundError, match="no gallery in"):
        Gallery(address).rows()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "psycopg" else find(name))
    with pytest.raises(UserError, match=r"needs psycopg, which is not installed: pip install 'geodesic\[pgvector\]'$"):
        Gallery(there).rows()


def test_a_full_disk_is_one_line(there, photos, monkeypatch):
    gallery = Gallery(there, fake.Run()).create()
    with pytest.raises(OSError, match="no space left on the disk: what was not committed is not there") as error:
        with gallery.opened()._commit():
            raise psycopg.errors.DiskFull("could not extend file")
    assert error.value.errno == 28
    assert gallery.add(photos).added == 15


def test_others_read_while_rows_are_written(there, photos):
    gallery, reader = Gallery(there, fake.Run()).create(), Gallery(there, fake.Run())
    gallery.add(photos)
    opened = gallery.opened()
    with opened._transaction() as cursor:
        cursor.execute(f"DELETE FROM {opened._rows}")
        assert len(reader.rows()) == len(reader.held()) == 15
    assert len(reader) == 0


@pytest.mark.slow
def test_killed_at_any_moment_in_postgresql(there, tmp_path):
    done = subprocess.run([sys.executable, "-m", "tests.experiments.galleries.killed", tmp_path, "25", "0", there],
                          cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0 and "'migrate': 5" in done.stdout, done.stdout + done.stderr
