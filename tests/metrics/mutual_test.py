import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.metrics import mutual, retrieval


def rows(count=120, size=8, seed=0):
    rng = np.random.default_rng(seed)
    return retrieval.normalized(rng.standard_normal((count // 4, size)).repeat(4, axis=0)
                                + 0.4 * rng.standard_normal((count, size))).astype(np.float32)


def plain(given, threshold, k):
    """Every pair, by the definition."""
    cosines = given @ given.T
    np.fill_diagonal(cosines, -np.inf)
    near = np.argsort(-cosines, axis=1)[:, :k]
    return [(a, b) for a in range(len(given)) for b in range(a + 1, len(given))
            if b in near[a] and a in near[b] and cosines[a, b] >= threshold]


@pytest.mark.parametrize(("threshold", "k"), [(0.6, 3), (-1.0, 5), (0.9, 1)])
def test_links_and_groups_are_those_of_all_pairs(threshold, k):
    given = rows()
    expected = plain(given, threshold, k)
    linked = mutual.links(given, threshold, k=k)
    assert [tuple(pair) for pair in linked.pairs.tolist()] == expected and len(expected) > 10
    np.testing.assert_allclose(linked.cosines, [given[a] @ given[b] for a, b in expected], atol=1e-6)
    found = mutual.connected(linked, len(given))
    parent = list(range(len(given)))
    for a, b in expected:
        old, new = parent[b], parent[a]
        parent = [new if one == old else one for one in parent]
    sizes = [parent.count(one) for one in parent]
    assert [number >= 0 for number in found] == [size > 1 for size in sizes]
    together = np.equal.outer(found, found) & (found >= 0)
    np.testing.assert_array_equal(together, np.equal.outer(parent, parent) & (np.array(sizes) > 1))
    assert (np.diff(np.bincount(found[found >= 0])) <= 0).all()


def test_in_parts_finds_what_it_says():
    given = rows(800, 16)
    every, some = mutual.links(given, 0.5), mutual.links(given, 0.5, probes=2)
    key = lambda linked: set(map(tuple, linked.pairs.tolist()))
    share = len(key(every) & key(some)) / len(key(every))
    assert 0.3 < share < 0.99 and mutual.share_found(given, some, 0.5) == pytest.approx(share, abs=1e-9)
    assert mutual.share_found(given, every, 0.5) == 1.0
    assert mutual.share_found(np.eye(4), mutual.links(np.eye(4), 0.5), 0.5) == 1.0  # there is nothing to be found


def test_a_group_of_one_is_none_and_sizes_come_first():
    assert mutual.by_size([5, 5, -1, 2, 8, 8, 8, 0, 0]).tolist() == [1, 1, -1, -1, 0, 0, 0, 2, 2]
    assert mutual.by_size([-1, -1]).tolist() == [-1, -1] and mutual.by_size([]).tolist() == []


def test_what_cannot_be_is_refused():
    for given in (dict(embeddings=np.eye(3)[:1]), dict(embeddings=np.eye(3), k=0)):
        with pytest.raises(UserError, match="links take two rows and one neighbour"):
            mutual.links(threshold=0.5, **given)
