import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.metrics import detection, detection_errors, detection_scores
from tests.metrics import goldens
from tests.metrics.goldens import scenes

# Two objects of classes 1 and 2, far from one another, and class 2 is found. Each case adds one to what is found.
FIRST, SECOND, AWAY = [0, 0, 10, 10], [100, 100, 110, 110], [50, 50, 60, 60]
NONE = dict.fromkeys(detection_errors.KINDS, 0)


def errors(*found, truth=((FIRST, 1), (SECOND, 2)), **given) -> detection_errors.Errors:
    boxes, scores, labels = zip(*found, strict=True) if found else ([], [], [])
    own = detection.Truth(*map(list, zip(*truth, strict=True)))
    return detection_errors.errors([detection.Detections(boxes, scores, labels)], [own], **given)


def shifted(box, by: float) -> list:
    return [box[0] + by, box[1], box[2] + by, box[3]]


def test_a_wrong_class():
    """Mended, the first object is found too. Class 2 had its wrong detection before its right one: AP 1/2."""
    found = errors((FIRST, 0.9, 2), (SECOND, 0.8, 2))
    assert found.ap == pytest.approx(0.25)
    assert found.counts == NONE | {"classification": 1}
    assert found.gains == pytest.approx(NONE | {"classification": 0.75})


def test_a_wrong_place():
    """Overlap 1/3, class 1: AP 0 of it and 1 of class 2."""
    found = errors((shifted(FIRST, 5), 0.9, 1), (SECOND, 0.8, 2))
    assert found.ap == pytest.approx(0.5)
    assert found.counts == NONE | {"localisation": 1}
    assert found.gains == pytest.approx(NONE | {"localisation": 0.5})


def test_a_wrong_place_and_class():
    """Without it, class 2 has AP 1 where it had 1/2; the first object stays missed, and without it class 1 is none."""
    found = errors((shifted(FIRST, 5), 0.9, 2), (SECOND, 0.8, 2))
    assert found.ap == pytest.approx(0.25)
    assert found.counts == NONE | {"both": 1, "missed": 1}
    assert found.gains == pytest.approx(NONE | {"both": 0.25, "missed": 0.25})


def test_a_duplicate():
    """It stands between two right ones of class 1: precision 1 up to recall 1/2, then 2/3."""
    truth = ((FIRST, 1), (AWAY, 1), (SECOND, 2))
    found = errors((FIRST, 0.9, 1), (shifted(FIRST, 1), 0.8, 1), (AWAY, 0.7, 1), (SECOND, 0.8, 2), truth=truth)
    own = (51 + 50 * 2 / 3) / 101
    assert found.ap == pytest.approx((1 + own) / 2)
    assert found.counts == NONE | {"duplicate": 1}
    assert found.gains == pytest.approx(NONE | {"duplicate": (1 - own) / 2})


def test_background():
    found = errors((AWAY, 0.9, 1), (FIRST, 0.8, 1), (SECOND, 0.8, 2))
    assert found.ap == pytest.approx(0.75)
    assert found.counts == NONE | {"background": 1}
    assert found.gains == pytest.approx(NONE | {"background": 0.25})


def test_a_missed_object():
    """Half of class 1: precision 1 up to recall 1/2, which is 51 of 101."""
    found = errors((FIRST, 0.9, 1), (SECOND, 0.8, 2), truth=((FIRST, 1), (AWAY, 1), (SECOND, 2)))
    assert found.ap == pytest.approx((1 + 51 / 101) / 2)
    assert found.counts == NONE | {"missed": 1}
    assert found.gains == pytest.approx(NONE | {"missed": (1 - 51 / 101) / 2})


def test_of_two_that_could_be_mended_the_higher_score_is():
    """Both are off by the same object. Mending the lower one's kind only lets it vanish."""
    found = errors((shifted(FIRST, 5), 0.9, 1), (shifted(FIRST, 1), 0.8, 2), (SECOND, 0.7, 2))
    assert found.counts == NONE | {"localisation": 1, "classification": 1}
    assert found.ap == pytest.approx(0.25)
    assert found.gains == pytest.approx(NONE | {"localisation": 0.5, "classification": 0.25})


def test_at_the_overlap_itself_it_is_the_place_that_is_wrong():
    """Half of the object, which is taken: a localisation error, that mending lets vanish."""
    found = errors((FIRST, 0.9, 1), ([0, 0, 10, 5], 0.8, 1), (SECOND, 0.8, 2))
    assert found.counts == NONE | {"localisation": 1}


def test_what_lies_in_a_crowd_stands_for_no_object():
    found = detection_errors.errors([detection.Detections([shifted(FIRST, 5)], [0.9], [1])],
                                    [detection.Truth([FIRST, [0, 0, 20, 20]], [1, 1], crowd=[False, True])])
    assert (found.ap, found.counts) == (0.0, NONE | {"missed": 1})


def test_what_lies_in_a_crowd_is_no_error_and_a_crowd_is_not_missed():
    boxes = [FIRST, SECOND, [101, 101, 105, 105]]
    found = detection_errors.errors([detection.Detections(boxes, [0.9, 0.8, 0.7], [1, 2, 2])],
                                    [detection.Truth([FIRST, SECOND], [1, 2], crowd=[False, True])])
    assert (found.ap, found.counts) == (1.0, NONE)


def test_a_class_without_an_object_is_left_out_but_its_errors_are_told():
    found = errors((FIRST, 0.9, 5), (SECOND, 0.8, 2))
    assert found.ap == pytest.approx(0.5)
    assert found.counts == NONE | {"classification": 1}
    assert found.gains["classification"] == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(30))
def test_its_ap_is_ap50_of_the_summary_and_mending_never_loses(seed):
    """With crowds, ties, and classes without objects or with none found."""
    found, truth = scenes.scene(np.random.default_rng(seed), 5, np.array([17, 3, 90]), many=140 * (seed % 10 == 3))
    given = [detection.Detections(*image) for image in found], [detection.Truth(*image) for image in truth]
    result, matches = detection_errors.errors(*given), detection.match(*given)
    assert result.ap == pytest.approx(detection_scores.summary(matches)["ap50"], abs=1e-12, nan_ok=True)
    assert min(result.gains.values()) >= 0
    wrong = sum((~of_class.hits[0, 0] & ~of_class.ignored[0, 0]).sum() for of_class in matches.classes.values())
    assert sum(result.counts.values()) - result.counts["missed"] == wrong


def test_all_numbers_equal_those_of_tidecv(monkeypatch):
    """Recalls are hundredths there, and here multiples of .01, as COCO has them: .35 is larger by the last bit."""
    monkeypatch.setattr(detection_scores, "RECALLS", np.arange(101) / 100)
    golden = goldens.load("detection_errors")
    images = {}
    for name, columns in (("found", 3), ("truth", 2)):
        ends = np.cumsum(golden[f"{name}/rows"])[:-1]
        parts = (np.split(golden[f"{name}/{column}"], ends) for column in range(columns))
        images[name] = list(zip(*parts, strict=True))
    count = len(images["truth"]) // len(golden["ap"])
    for place, ap in enumerate(golden["ap"]):
        own = slice(place * count, (place + 1) * count)
        result = detection_errors.errors([detection.Detections(*image) for image in images["found"][own]],
                                         [detection.Truth(*image) for image in images["truth"][own]])
        assert 100 * result.ap == pytest.approx(ap, abs=1e-9)
        assert list(result.counts.values()) == golden["counts"][place].tolist()
        assert [100 * gain for gain in result.gains.values()] == pytest.approx(golden["gains"][place], abs=1e-9)
    # Each kind is there in many sets, and gains something.
    assert (np.count_nonzero(golden["counts"], axis=0) > 10).all() and (golden["gains"].max(axis=0) > 0.5).all()


def test_nothing_at_all_and_what_cannot_be():
    assert np.isnan(detection_errors.errors([], []).ap)
    assert errors().ap == 0 and errors().counts == NONE | {"missed": 2}
    with pytest.raises(UserError, match=r"background=0.6, overlap=0.5: expected 0 < background < overlap <= 1"):
        errors(background=0.6)
