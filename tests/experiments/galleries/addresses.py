"""Where a gallery may be, in tests: a folder, a bucket, a PostgreSQL server of this machine, Qdrant without one."""

import importlib.util
import itertools
import os
import pathlib

import pytest

from geodesic.experiments.galleries import qdrant
from geodesic.experiments.process import storage
from tests import buckets
from tests.experiments.galleries import fake

ENGINES = ("folder", "s3", "postgresql", "qdrant")
_number = itertools.count()


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """The address of a PostgreSQL server of this session."""
    if importlib.util.find_spec("pgserver") is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("no PostgreSQL to test against, for want of pgserver or psycopg (requirements-dev.txt)")
    import pgserver
    from pgserver import postgres_server

    start = postgres_server.pg_ctl
    with pytest.MonkeyPatch.context() as patch:  # its own ten seconds are too few on a busy machine
        patch.setattr(postgres_server, "pg_ctl", lambda *words, timeout=None, **options: start(*words, **options))
        server = pgserver.get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def local_qdrant(tmp_path, monkeypatch):
    """Qdrant's client keeps points in a folder, and no server is asked."""
    if importlib.util.find_spec("qdrant_client") is None:
        pytest.skip("Qdrant cannot be tested, for want of qdrant-client (requirements-dev.txt)")
    import qdrant_client

    client = qdrant_client.QdrantClient(path=str(tmp_path / "qdrant"))
    monkeypatch.setattr(qdrant, "_connect", lambda host: client)
    yield client
    client.close()


def new(engine: str, request) -> str:
    """An address at which no gallery is yet."""
    number = next(_number)
    if engine == "folder":
        return str(request.getfixturevalue("tmp_path") / f"gallery{number}")
    if engine == "s3":
        buckets.use(request.getfixturevalue("monkeypatch"), **request.getfixturevalue("servers"))
        storage._filesystem("s3").mkdir(f"galleries-{os.getpid()}-{number}")
        request.addfinalizer(storage._filesystem.cache_clear)
        return f"s3://galleries-{os.getpid()}-{number}/people"
    if engine == "postgresql":
        return f"{request.getfixturevalue('database')}#people{number}"
    request.getfixturevalue("local_qdrant")
    return f"qdrant://127.0.0.1/people{number}"


@pytest.fixture(params=ENGINES)
def address(request):
    return new(request.param, request)


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
    return fake.folder(tmp_path / "photos", {f"{name}/{place}.jpg": f"{name}{place}"
                                             for name in ("ann", "bob", "cid") for place in range(5)})
