"""Face pairs and templates as insightface's evaluation scores them, golden numbers by metrics/goldens/make.py."""

import functools
import itertools

import numpy as np
import pytest

from geodesic.metrics import templates, ten_fold, verification
from tests.metrics import goldens

SWITCHES = list(itertools.product((False, True), repeat=3))


@functools.cache
def golden() -> dict:
    return goldens.load("faces")


def ten_folds(case: str) -> ten_fold.TenFold:
    rows = golden()[f"pairs/{case}/rows"]
    return ten_fold.ten_fold(rows[0::2], rows[1::2], golden()[f"pairs/{case}/same"])


@pytest.mark.parametrize("case", ["random", "uneven_folds", "ties", "one_sided_fold", "collapsed"])
def test_ten_fold_equals_insightface(case):
    """Folds of 20 and 21 pairs; distances that are thresholds; a fold without a genuine pair; no distance at all."""
    peer = golden()[f"insightface/{case}/accuracies"]
    found = ten_folds(case)
    np.testing.assert_allclose(found.accuracies, peer, rtol=1e-12)
    assert found.accuracy == pytest.approx(peer.mean()) and found.std == pytest.approx(peer.std())


def test_ten_fold_of_nan_is_refused_and_an_accuracy_for_insightface():
    """A distance of NaN is below no threshold: the peer takes the pair for different, and prints .9. Refusing is right:
    an embedder that answers NaN for every impostor would be perfect.
    """
    assert golden()["insightface/nan/accuracies"].mean() == pytest.approx(0.9)
    with pytest.raises(ValueError, match="NaN"):
        ten_folds("nan")


def test_insightface_has_no_rate_at_far_with_today_s_scipy():
    """Its threshold is interpolated through FARs that are equal at most thresholds, which SciPy no longer admits. Ours
    is a threshold that a pair has, and exists for ties too.
    """
    assert golden()["insightface/random/at_far/error"].item() == "ValueError: Expect x to not have duplicates"
    rows, same = golden()["pairs/random/rows"], golden()["pairs/random/same"]
    curve = verification.roc((rows[0::2] * rows[1::2]).sum(axis=1), same)
    tar, reachable = verification.tar_at_far(curve, 1e-3)
    assert reachable and 0 < tar < 1


def scores(switches: tuple[bool, bool, bool], **changes) -> tuple[str, np.ndarray]:
    """The protocol's name and our scores of the listed pairs."""
    names = ("rows", "flipped", "template", "medium", "detector", "first", "second")
    given = {name: golden()[f"templates/{name}"] for name in names} | changes
    norm, detector, flip = switches
    built = templates.templates(given["rows"], given["template"], given["medium"], keep_norm=norm,
                                flipped=given["flipped"] if flip else None,
                                detector_scores=given["detector"] if detector else None)
    return templates.protocol_name(keep_norm=norm, detector_score=detector, flip=flip), templates.pair_scores(
        built, given["first"], given["second"])


@pytest.mark.parametrize("switches", SWITCHES)
def test_template_scores_equal_insightface(switches):
    """Unordered template ids, media of one to several images, and medium numbers that recur in other templates."""
    name, found = scores(switches)
    np.testing.assert_allclose(found, golden()[f"insightface/{name}/scores"], atol=1e-6)


@pytest.mark.parametrize("switches", SWITCHES)
def test_tar_at_far_is_at_most_at_that_rate_and_insightface_s_nearest_to_it(switches):
    """84 impostor pairs: rates are multiples of 1/84 = .0119. The peer takes the point of the curve of the nearest FAR,
    here above 1e-2 for 1e-2, and reads a larger TAR. "At a FAR of at most" is right: a stated rate is not exceeded.
    Below half a step, and of the millions of impostors of IJB-C, both are the same.
    """
    name, found = scores(switches)
    same, peer = golden()["templates/same"], golden()[f"insightface/{name}/table"] / 100
    curve = verification.roc(found, same)
    ours = [verification.tar_at_far(curve, rate)[0] for rate in golden()[f"insightface/{name}/far"]]
    assert ours[:4] == pytest.approx(peer[:4], abs=1e-4)        # 1e-6 .. 1e-3, two digits of per cent
    assert ours[4] <= peer[4] + 1e-4 and ours[5] <= peer[5] + 1e-4
    assert verification.tar_at_far(curve, 1 / 84)[0] == pytest.approx(peer[4], abs=1e-4)


def test_the_two_readings_of_tar_at_far_by_number():
    """N0D0F0 at 1e-2: .2857 at most at that rate, .5714 at the nearest, .0119."""
    name, found = scores((False, False, False))
    curve = verification.roc(found, golden()["templates/same"])
    assert verification.tar_at_far(curve, 1e-2) == (pytest.approx(2 / 7), True)
    assert golden()[f"insightface/{name}/table"][4] == 57.14


def test_an_image_of_nan_is_refused_by_both():
    assert golden()["insightface/templates_nan/error"].item() == "ValueError: Input contains NaN."
    rows = np.where(np.arange(80)[:, None] == 3, np.float32("nan"), golden()["templates/rows"])
    with pytest.raises(ValueError, match="NaN"):
        scores((True, True, True), rows=rows)
