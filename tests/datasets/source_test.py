import numpy as np
import pytest

from datasets import source


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
    with pytest.raises(ValueError, match="asked of a source that has 3"):
        source.Classes(files(), *classes)


def test_labels_are_integers():
    assert np.issubdtype(files().labels.dtype, np.integer)
