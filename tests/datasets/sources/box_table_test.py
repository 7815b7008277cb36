import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from geodesic import datasets
from geodesic.errors import UserError
from tests.datasets import images


def write(folder, *rows: str, head="path,boxes,labels,split", name="x.csv") -> str:
    for place in range(3):
        (folder / f"{place}.png").write_bytes(images.encoded(images.pixels(place, 40, 60), "PNG"))
    (folder / name).write_text("".join(f"{line}\n" for line in (head, *rows)))
    return str(folder / name)


def test_several_boxes_of_a_picture(tmp_path):
    path = write(tmp_path, "0.png,10 20 30 40|0 0.5 5 6,dog|cat,train", "1.png,,,train", "2.png,1 1 9 9,bird,test")
    source = datasets.build("manifest", path=path)
    assert source.class_names == ["bird", "cat", "dog"] and len(source) == 3
    assert source[0]["boxes"].tolist() == [[10, 20, 30, 40], [0, 0.5, 5, 6]] and source[0]["classes"].tolist() == [2, 1]
    assert source[1]["boxes"].shape == (0, 4) and not source[0]["crowd"].any() and source.num_classes == 3
    assert datasets.decode(source[0]).shape == (40, 60, 3)
    some = datasets.build("manifest", path=f"{path}#test")
    assert some.class_names == source.class_names and some[0]["classes"].tolist() == [0] and len(some) == 1


def test_lists_of_a_parquet_file(tmp_path):
    write(tmp_path)
    pyarrow.parquet.write_table(pa.table({
        "path": ["0.png", "1.png"], "boxes": [[[1.0, 2.0, 3.0, 4.0], [5.0, 5.0, 60.0, 9.0]], []],
        "labels": [["10", "9"], []]}), tmp_path / "x.parquet")
    source = datasets.build("manifest", path=str(tmp_path / "x.parquet"))
    assert source.class_names == ["9", "10"] and source[0]["classes"].tolist() == [1, 0]
    np.testing.assert_array_equal(source[0]["boxes"], [[1, 2, 3, 4], [5, 5, 60, 9]])
    assert source[1]["boxes"].shape == (0, 4)


@pytest.mark.parametrize("row, message", [
    ("1.png,1 2 3 4,a|b,x", "row 2 has 1 boxes and 2 labels: expected as many of both"),
    ("1.png,1 2 3 4,,x", "0 labels"), ("1.png,,a,x", "0 boxes and 1 labels"),
    ("1.png,1 2 3,a,x", "row 2 has the boxes '1 2 3'; expected left, top, right"),
    ("1.png,1 2 3 x,a,x", "row 2 has the boxes"), ("1.png,1 2 3 9|1 2 3 9,a|,x", "row 2 has a box without a label"),
    ("1.png,5 2 3 9,a,x", "a box of row 2, of '1.png', ends before it begins: x 5 to 3"),
    ("1.png,1 2 nan 9,a,x", "a box of row 2, of '1.png', has corners that are no numbers"),
    (",1 2 3 9,a,x", "row 2 has no path")])
def test_what_a_row_cannot_mean_is_refused(tmp_path, row, message):
    with pytest.raises(UserError, match=message):
        datasets.build("manifest", path=write(tmp_path, "0.png,10 20 30 40,a,x", row))


def test_boxes_in_shares_are_refused(tmp_path):
    with pytest.raises(UserError, match="as of shares of the pictures' sides: expected pixels"):
        datasets.build("manifest", path=write(tmp_path, "0.png,0.1 0.1 0.5 0.9,a,x"))


def test_a_column_of_boxes_beside_a_label_is_another_column(tmp_path):
    source = datasets.build("manifest", path=write(tmp_path, "0.png,1 2 3 4,a", head="path,boxes,label"))
    assert "boxes" not in source[0] and source.columns().column_names == ["boxes"]
