import pytest

from tests.experiments.galleries.addresses import database  # noqa: F401

pytest.importorskip("fastapi")
pytest.importorskip("lancedb")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """What compiles once for all of these tests."""
    from tests.experiments.serving import served

    return served.untrained(tmp_path_factory.mktemp("run") / "run")
