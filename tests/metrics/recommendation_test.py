import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.metrics import recommendation, retrieval


def rows(count=300, size=8, seed=0):
    return retrieval.normalized(np.random.default_rng(seed).standard_normal((count, size))).astype(np.float32)


def plain(given, wanted, left, k, diversity):
    """Maximal marginal relevance by its definition."""
    taken = []
    while len(taken) < k:
        gain = {place: (1 - diversity) * given[place] @ wanted - diversity * max(
            float(given[place] @ given[other]) for other in taken) if taken else given[place] @ wanted
            for place in left if place not in taken}
        taken.append(max(gain, key=gain.get))
    return taken


def test_without_diversity_it_is_the_nearest_and_never_a_seed():
    given = rows()
    liked, disliked = given[[3, 7]], given[[11]]
    found, cosines = recommendation.recommend(given, liked, disliked, k=20)
    wanted = liked.mean(axis=0) - disliked[0] / 2
    wanted /= np.linalg.norm(wanted)
    expected = [place for place in np.argsort(-(given @ wanted), kind="stable") if place not in (3, 7, 11)][:20]
    assert found.tolist() == expected
    np.testing.assert_allclose(cosines, given[found] @ wanted, atol=1e-6)
    again, _ = recommendation.recommend(given, liked, disliked, k=20, exclude=found[:5])
    assert again[:15].tolist() == found[5:].tolist()


@pytest.mark.parametrize("diversity", [0.2, 0.7, 1.0])
def test_diversity_is_maximal_marginal_relevance(diversity):
    given = rows(120)
    found, _ = recommendation.recommend(given, given[:2], k=6, diversity=diversity)
    wanted = recommendation.query(given[:2])
    assert found.tolist() == plain(given, wanted, range(2, 120), 6, diversity)
    nearest, _ = recommendation.recommend(given, given[:2], k=6)
    assert (recommendation.spread(given[found]) < recommendation.spread(given[nearest])) == (diversity > 0.5)


def test_fewer_than_are_wanted_and_the_same_picture_twice():
    given = rows(5)
    given[4] = given[0]
    assert sorted(recommendation.recommend(given, given[:1], k=10, diversity=0.5)[0].tolist()) == [1, 2, 3]
    assert len(recommendation.recommend(given, given, k=3)[0]) == 0


def test_spread_is_the_mean_over_pairs():
    given = rows(9)
    cosines = given @ given.T
    assert recommendation.spread(given) == pytest.approx(cosines[np.triu_indices(9, 1)].mean(), abs=1e-6)


def test_what_cannot_be_is_refused():
    given = rows(9)
    for changes, line in (({"liked": given[:0]}, "nothing is liked"), ({"k": 0}, "one recommendation at least"),
                          ({"diversity": 1.5}, "between 0 and 1"),
                          ({"liked": [[1, 0], [-1, 0]]}, "cancels itself out")):
        with pytest.raises(UserError, match=line):
            recommendation.recommend(**{"embeddings": given[:, :2], "liked": given[:1, :2], **changes})
