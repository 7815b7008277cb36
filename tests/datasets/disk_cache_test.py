import os
import time

import numpy as np
import pytest

from geodesic.datasets import disk_cache
from geodesic.errors import UserError
from tests.datasets import streams

BLOCK = disk_cache.BLOCK
CONTENT = np.random.default_rng(0).integers(0, 256, 5 * BLOCK + 100, np.uint8).tobytes()


@pytest.fixture
def folder(monkeypatch, tmp_path):
    with streams.cache_of(monkeypatch, tmp_path) as folder:
        yield folder


def used(folder) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


def test_what_was_kept_is_read_and_nothing_else(folder):
    pieces = disk_cache.Pieces("a")
    assert pieces.read(0, 1) is None
    pieces.write(BLOCK, CONTENT[BLOCK:3 * BLOCK])
    pieces.write(5 * BLOCK, CONTENT[5 * BLOCK:])
    for start, size in ((BLOCK, 2 * BLOCK), (BLOCK + 7, 100), (2 * BLOCK - 3, 6), (5 * BLOCK + 1, 99)):
        assert pieces.read(start, size) == CONTENT[start:start + size]
    for start, size in ((BLOCK - 1, 2), (3 * BLOCK - 1, 2), (4 * BLOCK, 10), (6 * BLOCK - 1, 2)):
        assert pieces.read(start, size) is None
    assert disk_cache.Pieces("b").read(BLOCK, 10) is None


def test_several_files_in_one_do_not_disturb_each_other(folder):
    """Each begins at a block; what stands behind its end, zeros or the next file, is no part of its last block."""
    pieces, parts = disk_cache.Pieces("pack"), {0: CONTENT[:100], BLOCK: CONTENT[:BLOCK + 5], 3 * BLOCK: CONTENT[7:8]}
    for start in (BLOCK, 3 * BLOCK, 0):
        pieces.write(start, parts[start])
        assert pieces.read(start, len(parts[start])) == parts[start]
    assert all(pieces.read(start, len(part)) == part for start, part in parts.items())
    assert sorted(path.suffix for path in folder.iterdir()) == [".data", ".sums"]


def test_a_piece_that_was_harmed_is_fetched_again(folder):
    pieces = disk_cache.Pieces("a")
    pieces.write(0, CONTENT)
    for path in folder.iterdir():
        whole = path.read_bytes()
        for at in range(0, len(whole), max(len(whole) // 50, 1)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
            assert pieces.read(0, len(CONTENT)) is None
            path.write_bytes(whole[:at])
            assert pieces.read(0, len(CONTENT)) is None
        path.write_bytes(whole)
    assert pieces.read(0, len(CONTENT)) == CONTENT


def test_the_bound_holds_and_what_is_in_use_stays(folder, monkeypatch):
    monkeypatch.setattr(disk_cache, "_LOOK", 4 * BLOCK)
    monkeypatch.setenv("GEODESIC_CACHE_GB", str(100 * BLOCK / 1e9))
    for number in range(60):
        disk_cache.Pieces(str(number)).write(0, CONTENT)
    assert 60 * BLOCK < used(folder) <= 110 * BLOCK
    assert disk_cache.Pieces("0").read(0, 100) == CONTENT[:100]
    assert disk_cache.Pieces("59").read(0, 100) is None
    for path in folder.iterdir():  # another day: other data take the place
        os.utime(path, (time.time() - 9999,) * 2)
    assert disk_cache.Pieces("1").read(0, 100)  # which is a use, and noted
    monkeypatch.setattr(disk_cache, "_full_until", 0.0)
    for number in range(100, 110):
        disk_cache.Pieces(str(number)).write(0, CONTENT)
    assert disk_cache.Pieces("1").read(0, 100) and disk_cache.Pieces("109").read(0, 100)
    assert disk_cache.Pieces("0").read(0, 100) is None and used(folder) <= 110 * BLOCK


def test_none_is_kept_where_none_may_be(folder, monkeypatch):
    monkeypatch.setenv("GEODESIC_CACHE_GB", "0")
    disk_cache.Pieces("a").write(0, CONTENT)
    assert disk_cache.Pieces("a").read(0, 10) is None
    for text in ("-1", "ten", "nan"):
        monkeypatch.setenv("GEODESIC_CACHE_GB", text)
        with pytest.raises(UserError, match=f"GEODESIC_CACHE_GB is '{text}'"):
            disk_cache.bound()


def test_a_disk_that_cannot_be_written_only_costs_time(folder, monkeypatch):
    folder.mkdir(parents=True)
    monkeypatch.setattr(disk_cache.os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "no space left")))
    disk_cache.Pieces("a").write(0, CONTENT)
    assert disk_cache.Pieces("a").read(0, 10) is None
