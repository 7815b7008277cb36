"""Rows in memory: exact after any sequence of changes, and the same bit for bit as if they had been read anew."""

import numpy as np
import pyarrow as pa

from geodesic.experiments.galleries import held, table
from geodesic.experiments.galleries.table import COLUMNS


def unit(rng, count, size=24):
    rows = rng.standard_normal((count, size), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def words(names) -> dict[str, list[str]]:
    return {name: [str(one) for one in names] for name in COLUMNS}


def made(names, rows) -> held.Held:
    columns = pa.table({name: pa.array(texts, pa.string()) for name, texts in words(names).items()})
    return held.Held(columns, held._spacious(rows, len(rows)))


def test_after_any_changes_it_finds_what_one_made_anew_finds():
    rng = np.random.default_rng(0)
    rows = unit(rng, 300)
    kept, there = made(range(300), rows), dict(zip(map(str, range(300)), rows, strict=True))
    for turn in range(60):
        if turn % 3 == 2:
            gone = [str(name) for name in rng.choice([*there], 30, replace=False)]
            kept.delete(gone)
            for name in gone:
                del there[name]
        else:
            names = [str(name) for name in rng.choice(2000, 40, replace=False)]
            fresh = unit(rng, 40)
            kept.write(words(names), fresh)
            for name in names:
                there.pop(name, None)
            there |= dict(zip(names, fresh, strict=True))
        queries = unit(rng, 5)
        anew = made(there, np.stack([*there.values()]))
        assert len(kept) == len(there) == len(anew)
        (places, cosines), (others, same) = kept.top(queries, 7), anew.top(queries, 7)
        for found, other in zip(places, others, strict=True):
            assert [row["id"] for row in kept.rows(found)] == [row["id"] for row in anew.rows(other)]
        np.testing.assert_array_equal(cosines, same)
        table, vectors = kept.all()
        assert table["id"].to_pylist() == [*there]
        np.testing.assert_array_equal(vectors, np.stack([*there.values()]))


def test_it_is_exact():
    rng = np.random.default_rng(1)
    rows, queries = unit(rng, 5000, 64), unit(rng, 9, 64)
    places, cosines = made(range(5000), rows).top(queries, 100)
    true = queries.astype(np.float64) @ rows.astype(np.float64).T
    np.testing.assert_array_equal(places, np.argsort(-true, axis=1, kind="stable")[:, :100])
    np.testing.assert_allclose(cosines, np.take_along_axis(true, places, axis=1), atol=1e-6)


def test_equal_rows_have_equal_scores_wherever_they_lie_and_the_first_is_first():
    rng = np.random.default_rng(2)
    rows = unit(rng, 1001, 512)
    rows[[3, 500, 1000]] = rows[7]
    kept = made(range(1001), rows)
    places, cosines = kept.top(rows[[7]], 5)
    assert places[0, :4].tolist() == [3, 7, 500, 1000] and len({*cosines[0, :4].tolist()}) == 1
    many = kept.top(np.concatenate([unit(rng, 30, 512), rows[[7]]]), 5)
    np.testing.assert_array_equal(many[1][-1], cosines[0])  # whatever is asked beside it
    kept.delete(["3"])
    assert kept.top(rows[[7]], 3)[0].tolist() == [[7, 500, 1000]]


def test_fewer_rows_than_are_asked_for_and_queries_in_blocks(monkeypatch):
    rng = np.random.default_rng(3)
    kept = made(range(10), unit(rng, 10))
    kept.delete(["4"])
    queries = unit(rng, 7)
    whole = kept.top(queries, 50)
    assert whole[0].shape == (7, 9) and 4 not in whole[0] and np.isfinite(whole[1]).all()
    assert made([], np.zeros((0, 24), np.float32)).top(queries, 3)[0].shape == (7, 0)
    monkeypatch.setattr(held, "_ELEMENTS", 128)
    for one, other in zip(whole, kept.top(queries, 50), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_that_come_between_their_count_and_their_reading_are_read_too():
    rng = np.random.default_rng(4)
    rows = unit(rng, 400)

    class Growing:
        def __init__(self):
            self.info = {"model": {"size": 24}}

        def count(self) -> int:
            return 3

        def batches(self):
            for start in range(0, 400, 100):
                names = [(str(place),) * 5 for place in range(start, start + 100)]
                yield table.batch(names, rows[start:start + 100], np.ones(100, np.float32))

    kept = held.read(Growing())
    assert len(kept) == 400 and kept.top(rows[[7, 399]], 1)[0].tolist() == [[7], [399]]


def test_what_is_read_keeps_no_vectors_beside_its_own():
    """Texts of a batch, as they come, would keep the whole of it in memory."""
    whole = pa.record_batch({**{name: pa.array(["a", "b"]) for name in COLUMNS}, "vector": pa.array([[0.0], [1.0]])})
    kept = held._texts(whole)
    theirs = {buffer.address for name in COLUMNS for buffer in whole[name].buffers() if buffer is not None}
    ours = {buffer.address for name in COLUMNS for buffer in kept[name].chunk(0).buffers() if buffer is not None}
    assert kept.schema.names == [*COLUMNS] and kept["label"].to_pylist() == ["a", "b"] and not theirs & ours
