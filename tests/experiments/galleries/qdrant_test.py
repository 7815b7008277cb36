"""A gallery in Qdrant, without a server: addresses, what a killed command leaves, how a migration switches."""

import importlib.util

import pytest

from geodesic.errors import UserError
from geodesic.experiments.galleries import engines, qdrant, table
from geodesic.experiments.galleries.gallery import Gallery
from tests.experiments.galleries import addresses, fake


@pytest.fixture
def there(request) -> str:
    return addresses.new("qdrant", request)


def collections(client) -> set[str]:
    return {one.name for one in client.get_collections().collections}


def test_an_address_says_server_and_name(monkeypatch):
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    assert qdrant._parsed("qdrant://host:7000/people") == ("http://host:7000", "people")
    assert qdrant._parsed("qdrant://host/people?https") == ("https://host:6333", "people")
    monkeypatch.setenv("QDRANT_API_KEY", "s3cret")
    assert qdrant._parsed("qdrant://host/people") == ("https://host:6333", "people")
    for address in ("qdrant://host", "qdrant://host/a/b", "qdrant:///people", "qdrant://ann:s3cret@host/people"):
        with pytest.raises(UserError, match=r"^expected qdrant://HOST:PORT/NAME") as error:
            engines.of(address)
        assert "s3cret" not in str(error.value)


def test_what_a_killed_command_has_left_is_removed_and_others_galleries_are_not(there, local_qdrant, photos):
    other = Gallery(f"{there}-2", fake.Run()).create()
    gallery = Gallery(there, fake.Run()).create()
    gallery.add(photos)
    kept, name = collections(local_qdrant), there.rpartition("/")[2]
    vectors = qdrant._models().VectorParams(size=4, distance=qdrant._models().Distance.DOT)
    local_qdrant.create_collection(f"{name}.0123abcd", vectors)  # as one that was killed before it had its alias
    assert Gallery(there, fake.Run(seed=1)).migrate().rows == 15
    assert len(collections(local_qdrant)) == len(kept) and f"{name}.0123abcd" not in collections(local_qdrant)
    assert len(other) == 0 and len(gallery.rows()) == 15


def test_a_migration_switches_by_one_call(there, local_qdrant, photos, monkeypatch):
    gallery = Gallery(there, fake.Run()).create()
    gallery.add(photos)
    calls, update = [], local_qdrant.update_collection_aliases
    monkeypatch.setattr(local_qdrant, "update_collection_aliases",
                        lambda operations: (calls.append(operations), update(operations))[1])
    Gallery(there, fake.Run(seed=1)).migrate()
    made, switch = calls
    assert len(made) == 1 and [type(one).__name__ for one in switch] == [
        "DeleteAliasOperation", "DeleteAliasOperation", "CreateAliasOperation"]
    assert not qdrant.exists(there, table.MIGRATED) and gallery.opened().info["model"]["weights"] == f"{1:016x}"


def test_a_command_that_is_killed_within_a_commit_doubles_nothing(there, local_qdrant, photos, monkeypatch):
    gallery = Gallery(there, fake.Run()).create()
    reader = Gallery(there, fake.Run())
    assert len(reader.held()) == 0
    monkeypatch.setattr(qdrant, "_AT_ONCE", 3)
    upsert, calls = local_qdrant.upsert, []

    def killed(*arguments, **options):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(upsert(*arguments, **options))

    monkeypatch.setattr(local_qdrant, "upsert", killed)
    with pytest.raises(KeyboardInterrupt):
        gallery.add(photos)
    monkeypatch.setattr(local_qdrant, "upsert", upsert)
    assert len(reader.held()) == len(reader) == 6  # a part of the commit, and it is seen
    again = Gallery(there, fake.Run())
    assert (again.add(photos).added, len(again), len(reader.held()), again.check().problems) == (9, 15, 15, [])


def test_no_server_and_no_package_is_one_line(monkeypatch):
    with pytest.raises(UserError, match=r"^the gallery qdrant://127\.0\.0\.1:9/people cannot be used: ") as error:
        Gallery("qdrant://127.0.0.1:9/people", fake.Run()).rows()
    assert "\n" not in str(error.value)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "qdrant_client" else find(name))
    with pytest.raises(UserError, match=r"needs qdrant-client, which is not installed: pip install 'geodesic\[qdrant"):
        Gallery("qdrant://127.0.0.1:9/people", fake.Run()).create()
