import pytest

from tests.datasets import streams


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """The folder in which pieces of buckets, and indexes of shards, are kept."""
    with streams.cache_of(monkeypatch, tmp_path / "cache") as folder:
        yield folder
