"""Items of many threads in one: together, each with its own result."""

import threading

import pytest

from geodesic.experiments.serving import batches


def test_what_comes_while_it_works_is_taken_together():
    seen, started, go = [], threading.Event(), threading.Event()

    def work(items):
        seen.append(items)
        started.set()
        go.wait(10)
        return [item + 1 for item in items]

    told = []
    found = batches.Batches(work, size=3, told=told.append)
    first = found.submit(0)
    started.wait(10)
    rest = [found.submit(item) for item in range(1, 6)]
    assert found.waiting() == 5 and rest[1].cancel()  # nobody waits for it any more
    go.set()
    assert [future.result(10) for future in (first, rest[0], *rest[2:])] == [1, 2, 4, 5, 6]
    found.close()
    assert seen == [[0], [1, 3], [4, 5]] and told == [1, 2, 2]


def test_the_first_waits_for_others():
    seen = []
    found = batches.Batches(lambda items: seen.append(items) or items, size=2, wait=10.0)
    both = [found.submit("a"), found.submit("b")]  # a full batch waits no longer
    assert [future.result(5) for future in both] == ["a", "b"] and seen == [["a", "b"]]
    found.close()
    alone = batches.Batches(lambda items: items, size=2, wait=0.01)
    assert alone.submit("c").result(5) == "c"
    alone.close()


def test_an_error_is_of_its_item_or_of_all():
    found = batches.Batches(lambda items: [ValueError("odd") if item % 2 else item for item in items], size=4)
    even, odd = found.submit(2), found.submit(3)
    assert even.result(5) == 2
    with pytest.raises(ValueError, match="odd"):
        odd.result(5)
    found.close()
    broken = batches.Batches(lambda items: 1 / 0, size=4)
    for _ in range(2):  # and the thread goes on
        with pytest.raises(ZeroDivisionError):
            broken.submit(1).result(5)
    broken.close()


def test_closing_waits_for_what_was_submitted():
    done = []
    found = batches.Batches(lambda items: done.extend(items) or items, size=1)
    for item in range(50):
        found.submit(item)
    found.close()
    assert done == [*range(50)]
