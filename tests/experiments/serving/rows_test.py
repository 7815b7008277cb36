"""A gallery that others change while it is asked."""

import os
import subprocess
import sys

import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.experiments.serving import rows
from geodesic.experiments.serving.refusal import Refused
from tests.experiments.galleries import fake


@pytest.fixture
def kept(tmp_path):
    from geodesic.experiments.galleries.gallery import Gallery

    run = fake.Run()
    photos = fake.folder(tmp_path / "photos", {f"{name}/{place}.jpg": f"{name}{place}" for name in "ab"
                                               for place in range(3)})
    Gallery(tmp_path / "g", run).create().add(photos)
    return rows.Rows(*(Gallery(tmp_path / "g", run) for _ in range(2)), str(tmp_path / "g" / "added"), 0.5, 0.0)


QUERY = rows.Query(np.arange(1, fake.SIZE + 1, dtype=np.float32), 4)


def test_one_that_is_migrated_while_it_is_asked_gives_no_answer(kept, tmp_path, monkeypatch):
    from geodesic.experiments.galleries.gallery import Gallery

    assert len(kept.find([QUERY])[0][0].hits) == 4
    find = kept._reader.find

    def migrated(*arguments, **options):
        Gallery(tmp_path / "g", fake.Run(seed=1)).migrate()
        return find(*arguments, **options)

    monkeypatch.setattr(kept._reader, "find", migrated)
    with pytest.raises(UserError, match="was made by another model"):
        kept.find([QUERY])


def test_one_query_that_cannot_be_answered_leaves_the_others(kept):
    found = kept.find([QUERY, QUERY._replace(only="nobody"), QUERY._replace(only="b", k=2)])
    assert len(found[0][0].hits) == 4 and isinstance(found[1], Refused) and found[1].status_code == 404
    assert [hit.label for hit in found[2][0].hits] == ["b", "b"]


HOLDER = """import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_while_another_process_writes_nothing_is_added_and_searches_go_on(kept, tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "g" / ".lock"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(Refused, match="another process writes into the gallery"):
            kept.add(b"c1", "c.jpg", "", "c")
        assert len(kept.find([QUERY])[0][0].hits) == 4 and not os.path.exists(kept.added)
        other.stdin.close()
    assert kept.add(b"c1", "c.jpg", "", "c")["done"] == "added" and kept.count() == 7


def test_a_picture_that_cannot_be_embedded_leaves_no_file(kept):
    with pytest.raises(Refused, match="cannot read the image"):
        kept.add(b"broken", "d.jpg", "", "")
    assert os.listdir(kept.added) == [] and kept.count() == 6
