import numpy as np
import pytest

from benchmarks import lake_runs as hausdorff
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


@pytest.mark.parametrize(("count", "expected"), [(4, 29), pytest.param(20, 155, marks=pytest.mark.slow)])
def test_the_runs_are_as_hard_as_omniglots_repository_says(drawings, count, expected):
    """The modified Hausdorff distance of the ink errs there in 38.8 % of 400 decisions, which are 155."""
    source, drawer = drawings
    inks = [hausdorff.ink(source[place]["image"]) for place in range(len(source))]
    runs = lake_runs.rows(source.labels, drawer, source.class_names)
    assert sum(hausdorff.errors(inks, *one) for one in runs[:count]) == expected


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
