import numpy as np
import pytest

from geodesic.datasets import source


def files():
    return source.Files([f"p{index}" for index in range(6)], [0, 0, 1, 1, 2, 2], ["a", "b", "c"])


def test_classes_relabel_from_zero(tmp_path):
    part = source.Classes(files(), 1, 3)
    assert (len(part), part.num_classes, part.class_names) == (4, 2, ["b", "c"])
    assert part.labels.tolist() == [0, 0, 1, 1]
    assert part.paths == ["p2", "p3", "p4", "p5"]


def test_ranges_that_do_not_overlap_are_disjoint_and_complete():
    first, second = source.Classes(files(), 0, 1), source.Classes(files(), 1, 0)
    assert not set(first.paths) & set(second.paths)
    assert len(first) + len(second) == 6


def test_records_carry_the_new_label(tmp_path):
    for index in range(2):
        (tmp_path / str(index)).write_bytes(b"x")
    whole = source.Files([str(tmp_path / "0"), str(tmp_path / "1")], [0, 1], ["a", "b"])
    assert source.Classes(whole, 1, 2)[0] == {"image": b"x", "label": 0, "path": str(tmp_path / "1")}


@pytest.mark.parametrize("classes", [(2, 2), (0, 4), (-1, 2), (3, 0)])
def test_ranges_outside_the_source_raise(classes):
    with pytest.raises(ValueError, match=r"asked of a source that has 3: .* within 0\.\.3; \(0, 0\) keeps all"):
        source.Classes(files(), *classes)


def test_labels_are_integers():
    assert np.issubdtype(files().labels.dtype, np.integer)


def many(classes):
    return source.Files([f"p{index}" for index in range(2 * classes)], np.arange(2 * classes) // 2,
                        [f"c{index}" for index in range(classes)])


@pytest.mark.parametrize(("classes", "folds"), [(10, 4), (8, 4), (7, 7), (5, 2)])
def test_folds_are_disjoint_in_classes_and_complete(classes, folds):
    validated = []
    for fold in range(folds):
        train, validation = (source.Fold(many(classes), folds, fold, part) for part in ("train", "validation"))
        assert not {*train.class_names} & {*validation.class_names}
        assert sorted(train.class_names + validation.class_names) == sorted(many(classes).class_names)
        assert len(train) + len(validation) == 2 * classes
        assert sorted({*train.labels}) == list(range(train.num_classes))
        assert abs(validation.num_classes - classes / folds) < 1
        validated += validation.class_names
    assert validated == many(classes).class_names  # each class validates once, in their order


def test_reality_check_has_four_folds_over_the_first_half_of_the_classes():
    half = source.Classes(many(200), 0, 100)
    fold = source.Fold(half, 4, 1, "validation")
    assert fold.class_names == [f"c{index}" for index in range(25, 50)]


@pytest.mark.parametrize(("folds", "fold", "part", "message"), [
    (1, 0, "train", "expected 2 to 3 folds"), (4, 0, "train", "expected 2 to 3 folds"),
    (2, 2, "train", "0 <= fold < folds"), (2, 0, "test", "train or validation; got 'test'")])
def test_folds_that_do_not_exist(folds, fold, part, message):
    with pytest.raises(ValueError, match=message):
        source.Fold(files(), folds, fold, part)
