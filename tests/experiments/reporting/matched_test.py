"""The section of the report on why pairs match: which pairs, what their maps sum to, and what it refuses."""

import re

import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.experiments.reporting import galleries, matched
from geodesic.metrics import retrieval
from tests.experiments.trained import attribution_test

LABELS = np.repeat(np.arange(3), 3)


def made(tmp_path, **changes):
    """(run, tested, precision, rivals, pictures) of nine pictures of three classes, by an untrained network."""
    run = attribution_test.loaded(tmp_path, **changes)
    rng = np.random.default_rng(0)
    pictures = (rng.integers(0, 120, (3, 16, 16, 3))[LABELS] + rng.integers(0, 120, (9, 16, 16, 3))).astype(np.uint8)
    tested = galleries.Tested(run.embed(pictures), LABELS, [f"{place}.jpg" for place in range(9)],
                              ["ape", "<b>", "cat"], None)
    precision = retrieval.rank_self(tested.embeddings, LABELS).map_at_r
    return run, tested, precision, galleries.rivals(tested, precision, 0), pictures


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return made(tmp_path_factory.mktemp("matched"))


def test_every_pair_has_its_cosine_and_its_maps_sum_to_it(plain):
    run, tested, precision, decided, pictures = plain
    shown = matched.render(run, tested, precision, decided, lambda row: pictures[row])
    cosines = [float(one) for one in re.findall(r", cosine (-?[\d.]+)<", shown)]
    sums = [float(one) for one in re.findall(r">sums to (-?[\d.]+)<", shown)]
    assert len(cosines) == 8 and sums == pytest.approx(np.repeat(cosines, 2), abs=2e-3)
    pairs = [pair for some in matched._chosen(tested, precision, decided).values() for pair in some]
    products = [tested.embeddings[one] @ tested.embeddings[other] for one, other in pairs]
    assert cosines == pytest.approx(products, abs=1e-3)
    assert shown.count("data:image/jpeg") == 32 and "<b>" not in shown and "computed, not estimated" in shown
    for (one, other), kind in zip(pairs, re.findall(r"map (hit|miss)", shown)[::2], strict=True):
        assert (LABELS[one] == LABELS[other]) == (kind == "hit") and one != other


def test_the_pairs_are_the_best_the_worst_and_the_near_misses(plain):
    _, tested, precision, decided, _ = plain
    best, worst, near = matched._chosen(tested, precision, decided).values()
    assert precision[best[0][0]] == precision.max() and precision[worst[0][0]] == precision.min()
    cosines = tested.embeddings @ tested.embeddings.T - 2 * np.eye(9)
    assert [other for _, other in best + worst] == [cosines[one].argmax() for one, _ in best + worst]
    assert near[0][0] == decided.queries[abs(decided.margins).argmin()] == near[1][0]
    assert LABELS[near[0][0]] == LABELS[near[0][1]] != LABELS[near[1][1]]


def test_of_a_head_the_error_is_said(tmp_path):
    run, *given, pictures = made(tmp_path, head__name="attention_pool", embedder__embedding_size=0)
    shown = matched.render(run, *given, lambda row: pictures[row])
    assert "The head is no sum over places" in shown and shown.count(", off by ") == 16
    assert "Frames of one colour" not in shown


def test_what_cannot_be_read_is_left_out_and_other_weights_are_refused(plain):
    run, tested, precision, decided, pictures = plain

    def view(row):
        if row == 4:
            raise FileNotFoundError("gone")
        return pictures[row]

    pairs = [pair for some in matched._chosen(tested, precision, decided).values() for pair in some]
    shown = matched.render(run, tested, precision, decided, view)
    assert shown.count(", cosine ") == sum(4 not in pair for pair in pairs) < 8
    assert matched.render(run, tested, precision, decided, lambda row: view(4)) == ""
    other = tested._replace(embeddings=np.eye(9, dtype=np.float32))
    with pytest.raises(UserError, match="the evaluation is of other embeddings than these weights"):
        matched.render(run, other, precision, decided, lambda row: pictures[row])
    run.config.evaluation.layer = "pool"
    try:
        with pytest.raises(UserError, match="layer 'pool' is no map"):
            matched.render(run, tested, precision, decided, lambda row: pictures[row])
    finally:
        run.config.evaluation.layer = ""
