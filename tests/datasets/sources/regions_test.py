import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from geodesic import datasets
from geodesic.datasets.sources import regions
from geodesic.errors import UserError
from tests.datasets import images
from tests.datasets.goldens import alignment as golden

GOLDEN = dict(np.load(pathlib.Path(golden.__file__).with_suffix(".npz")))


def build(folder, column, *values, head="path,label"):
    lines = [f"{head},{column}", *(f"{place}.png,{place},{value}" for place, value in enumerate(values))]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    for place in range(len(values)):
        (folder / f"{place}.png").write_bytes(images.encoded(GOLDEN["image"], "PNG"))
    return datasets.build("manifest", path=str(folder / "table.csv"))


@pytest.mark.parametrize(("values", "boxes"), [
    (["1 2 30 40", "", " 5  6 7 8 "], [(1, 2, 30, 40), None, (5, 6, 7, 8)]),
    (["10.5 10.5 60.6 60.4"], [(10, 10, 61, 60)]),
    (["-5 -5 1 1", "50 50 500 500"], [(-5, -5, 1, 1), (50, 50, 500, 500)]),
    (["0.1 0.1 0.9 0.9", "", "0 0 1 1"], [(0.1, 0.1, 0.9, 0.9), None, (0, 0, 1, 1)]),
    (["-0.01 0.2 1.004 0.9"], [(-0.01, 0.2, 1.004, 0.9)]), (["", " "], [None, None]),
])
def test_boxes(values, boxes, tmp_path):
    source = build(tmp_path, "box", *values)
    assert source.boxes == boxes
    records = [source[index] for index in range(len(boxes))]
    assert [record.get("box") for record in records] == boxes
    shares = any(box and max(map(abs, box)) <= 2 for box in boxes)
    assert ["the boxes are in shares of the images' sides" in remark for remark in source.remarks] == [True] * shares


@pytest.mark.parametrize(("values", "message"), [
    (["1 2 3"], "row 1 has box '1 2 3'; expected left, top, right, bottom: 4 numbers, in pixels or in shares"),
    (["1 2 30 40", "1 2 x 4"], "row 2 has box '1 2 x 4'"), (["1 2 nan 4"], "row 1 has box"),
    (["1 2 inf 4"], "row 1 has box"), (["5 5 5 9"], "row 1 has an empty box '5 5 5 9'"),
    (["0.5 0.5 0.2 0.9"], "row 1 has an empty box"), (["9.1 9.1 9.2 20"], "row 1 has an empty box"),
    (["", "10 10 50 50", "0.1 0.1 0.9 0.9"],
     r"row 3 has box \[0.1, 0.1, 0.9, 0.9\], in shares of the image's sides, and row 2 has \[10.0, 10.0, 50.0, 50.0\], "
     r"in pixels: expected the same in all rows"),
    (["10 10 50 50", "0 0 1 1"], "row 2 has box .*, in shares"),
    (["0 0 2.4 2.4"], "row 1 has box '0 0 2.4 2.4': at most 2 pixels from the corner"),
])
def test_boxes_that_are_none(values, message, tmp_path):
    with pytest.raises(UserError, match=message):
        build(tmp_path, "box", *values)


def test_parquet_has_lists(tmp_path):
    pa.parquet.write_table(pa.table({"path": ["x", "y"], "label": ["a", "b"], "box": [[0, 0, 5.2, 5], None],
                                     "landmarks": pa.array([[[1.5, 2], [3, 4], [5, 6], [7, 8], [9, 10]]] * 2)}),
                           tmp_path / "m.parquet")
    source = datasets.build("manifest", path=str(tmp_path / "m.parquet"))
    assert source.boxes == [(0, 0, 5, 5), None]
    assert source.landmarks.tolist() == [[1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10]] * 2


def test_boxes_and_landmarks_tell_records_apart(tmp_path):
    names = [build(tmp_path, "box", box).record_names() for box in ("0 0 9 9", "0 0 9 8", "0 0 .9 .9", "0 0 .9 .8")]
    names += [build(tmp_path, "landmarks", " ".join(map(str, range(first, first + 10)))).record_names()
              for first in (1, 2)]
    assert len({*map(tuple, names)}) == 6
    assert names[0][0].endswith(" (0, 0, 9, 9)")  # as ever: older runs have kept a digest of it


def listed(name: str) -> str:
    return " ".join(map(str, GOLDEN[f"landmarks/{name}"].ravel().tolist()))


@pytest.mark.parametrize("form", ["one column", "a column each"])
def test_landmarks(form, tmp_path):
    faces = [listed(name) for name in golden.FACES]
    if form == "one column":
        source = build(tmp_path, "landmarks", *faces)
    else:
        source = build(tmp_path, ",".join(regions.POINTS), *(face.replace(" ", ",") for face in faces))
    assert source.landmarks.dtype == np.float32
    np.testing.assert_array_equal(source.landmarks, [GOLDEN[f"landmarks/{name}"].ravel() for name in golden.FACES])
    np.testing.assert_array_equal(source[1]["landmarks"], GOLDEN["landmarks/large"].ravel())


@pytest.mark.parametrize(("values", "message"), [
    (["1 2 3 4 5 6 7 8 9"], "row 1 has landmarks '1 2 3 4 5 6 7 8 9'; expected x and y of the eyes, the nose and the"),
    (["1 2 3 4 5 6 7 8 9 10", ""], "row 2 has landmarks ''"), (["1 2 3 4 5 6 7 8 9 nan"], "row 1 has landmarks"),
    (["1 2 3 4 5 6 7 8 9 10", ".1 .2 .3 .4 .5 .6 .7 .8 .9 1"], "row 2 has landmarks .*, in shares"),
])
def test_landmarks_that_are_none(values, message, tmp_path):
    with pytest.raises(UserError, match=message):
        build(tmp_path, "landmarks", *values)


def test_some_of_the_columns_are_no_landmarks(tmp_path):
    source = build(tmp_path, "nose_x,nose_y", "1,2")
    assert source.landmarks is None and "landmarks" not in source[0]
