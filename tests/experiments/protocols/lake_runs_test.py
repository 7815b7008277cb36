import numpy as np
import pytest

from geodesic import datasets
from geodesic.experiments.protocols import episodes, lake_runs
from tests.experiments.protocols.goldens.lake_runs import PATH


@pytest.fixture(scope="module")
def drawings():
    source = datasets.build("omniglot", path=str(PATH))
    return source, episodes.drawers(source, np.arange(len(source)))


def test_a_run_is_twenty_characters_of_one_alphabet_by_two_drawers(drawings):
    source, drawer = drawings
    runs = lake_runs.rows(source.labels, drawer, source.class_names)
    assert len(runs) == 20
    alphabet = episodes.alphabets(source)
    for asked, known in runs:
        assert (source.labels[asked] == source.labels[known]).all() and len(set(source.labels[asked])) == 20
        assert len(set(alphabet[source.labels[asked]])) == 1
        assert len(set(drawer[asked])) == len(set(drawer[known])) == 1 and drawer[asked][0] != drawer[known][0]


def test_the_runs_are_as_hard_as_omniglots_repository_says(drawings):
    """The modified Hausdorff distance of the ink errs there in 38.8 % of 400 decisions."""
    source, drawer = drawings
    ink = {}
    for place in range(len(source)):
        places = np.argwhere(source[place]["image"][..., 0] == 0)
        ink[place] = places - places.mean(axis=0)
    squares = {place: np.sum(points**2, axis=1) for place, points in ink.items()}

    def away(one: int, other: int) -> float:
        between = squares[one][:, None] + squares[other] - 2 * ink[one] @ ink[other].T
        return max(np.sqrt(np.maximum(between.min(axis=axis), 0)).mean() for axis in (0, 1))

    wrong = 0
    for asked, known in lake_runs.rows(source.labels, drawer, source.class_names):
        table = [[away(a, k) for k in known.tolist()] for a in asked.tolist()]
        wrong += int(np.sum(np.argmin(table, axis=1) != np.arange(20)))
    assert wrong == 155  # 38.75 %


def test_the_nearest_of_the_known_drawings_decides(drawings):
    source, drawer = drawings
    runs = lake_runs.rows(source.labels, drawer, source.class_names)
    embeddings = np.eye(source.num_classes)[source.labels]
    trials = episodes.nearest(embeddings, source.labels, runs)
    assert trials.right.shape == (400,) and trials.right.all()
    # One drawing that is asked looks like another character.
    asked = runs[7][0]
    embeddings[asked[3]] = embeddings[asked[4]]
    again = episodes.nearest(embeddings, source.labels, runs)
    assert np.flatnonzero(again.right == 0).tolist() == [7 * 20 + 3]
    assert again.classes[7 * 20 + 3] == source.labels[asked[3]]


def test_a_missing_drawing_is_named(drawings):
    source, drawer = drawings
    for kept in (source.labels != 4, drawer != 7):
        with pytest.raises(ValueError, match=r"need drawing \d of \w+/character\d\d, which is not in these images"):
            lake_runs.rows(source.labels[kept], drawer[kept], source.class_names)
