import gzip
import os
import re

import pyarrow as pa
import pyarrow.parquet
import pytest

from geodesic import datasets
from geodesic.datasets import identity
from geodesic.errors import UserError
from tests.datasets import odd_tables

CSV = "path,label,split\na/1.jpg,cat,train\na/2.jpg,dog,test\na/3.jpg,cat,test\n"


@pytest.fixture
def csv(tmp_path):
    (tmp_path / "m.csv").write_text(CSV)
    return str(tmp_path / "m.csv")


def test_paths_are_relative_to_the_manifest(csv, tmp_path):
    source = datasets.build("manifest", path=csv)
    assert source.paths == [str(tmp_path / "a" / f"{n}.jpg") for n in (1, 2, 3)]
    assert source.labels.tolist() == [0, 1, 0] and source.class_names == ["cat", "dog"]


def test_a_split_has_the_classes_of_its_own_rows(csv):
    train, test = (datasets.build("manifest", path=f"{csv}#{split}") for split in ("train", "test"))
    assert (train.class_names, test.class_names) == (["cat"], ["cat", "dog"])
    assert (train.labels.tolist(), test.labels.tolist()) == ([0], [1, 0])


@pytest.mark.parametrize("name", ["m.csv", "m.csv.gz", "m.parquet"])
@pytest.mark.parametrize("folder", ["caf\udce9", "k=v [a]:b"])
def test_a_table_in_a_folder_of_any_name(tmp_path, folder, name):
    path = os.path.join(tmp_path, folder, name)
    os.mkdir(os.path.dirname(path))
    with gzip.open(path, "wb") if name.endswith(".gz") else open(path, "wb") as file:
        if name.endswith(".parquet"):
            pa.parquet.write_table(pa.table({"path": ["1.jpg", "2.jpg"], "label": ["7", "07"]}), file)
        else:
            file.write(b"path,label\n1.jpg,7\n2.jpg,07\n")
    source = datasets.build("manifest", path=path)
    assert source.paths == [os.path.join(tmp_path, folder, f"{n}.jpg") for n in (1, 2)]
    assert [source.class_names[label] for label in source.labels] == ["7", "07"]


def test_parquet_with_numbers(tmp_path):
    pa.parquet.write_table(pa.table({"path": ["x", "y"], "label": [10, 2]}), tmp_path / "m.parquet")
    source = datasets.build("manifest", path=str(tmp_path / "m.parquet"))
    assert source.class_names == ["2", "10"] and source.labels.tolist() == [1, 0]


@pytest.mark.parametrize(("content", "message"), [
    ("file,label\nx,1\n", "no column 'path'; it has file, label"),
    ("path,label\n", "has no row"),
    ("path,label\n,1\n", "row 1 has no path"),
    ("path,label\nx\n", "no CSV or Parquet"),
])
def test_other_tables(content, message, tmp_path):
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        datasets.build("manifest", path=str(tmp_path / "m.csv"))


def test_an_unknown_split(csv):
    with pytest.raises(ValueError, match="no row of split 'val'; it has test, train"):
        datasets.build("manifest", path=csv + "#val")


def test_several_labels_and_boxes(tmp_path):
    (tmp_path / "m.csv").write_text("path,labels,box\nx,red|round,1 2 30 40\ny,round,\n")
    source = datasets.build("manifest", path=str(tmp_path / "m.csv"))
    assert source.class_names == ["red", "round"] and source.labels.tolist() == [0, 1]
    assert source.tags.tolist() == [[True, True], [False, True]]
    for name in "xy":
        (tmp_path / name).write_bytes(b"")
    assert source[0]["box"] == (1, 2, 30, 40) and "box" not in source[1]
    assert source[1]["tags"].tolist() == [False, True]


def test_parquet_with_lists(tmp_path):
    pa.parquet.write_table(pa.table({"path": ["x", "y"], "labels": [["a", "b"], ["c"]], "box": [[0, 0, 5, 5], None]}),
                           tmp_path / "m.parquet")
    source = datasets.build("manifest", path=str(tmp_path / "m.parquet"))
    assert source.tags.sum(axis=1).tolist() == [2, 1] and source.boxes == [(0, 0, 5, 5), None]


@pytest.mark.parametrize("box", ["1 2 3", "1 2 x 4", "5 5 5 9"])
def test_boxes_that_are_none(box, tmp_path):
    (tmp_path / "m.csv").write_text(f"path,label,box\nx,1,{box}\n")
    with pytest.raises(ValueError, match="row 1 has"):
        datasets.build("manifest", path=str(tmp_path / "m.csv"))


@pytest.mark.parametrize("name", odd_tables.CASES)
def test_a_table_means_what_stands_there_or_is_refused(name, tmp_path):
    case, path = odd_tables.CASES[name], odd_tables.write(tmp_path, name)
    build = lambda: datasets.build("manifest", path=f"{path}#{case.split}" if case.split else str(path))
    if case.refused:
        with pytest.raises(UserError, match=re.escape(case.refused)) as error:
            build()
        assert str(path) in str(error.value) and "\n" not in str(error.value)
        return
    source = build()
    assert (source.class_names, source.labels.tolist()) == (case.classes, case.labels)
    paths = case.paths or [f"{place}.png" for place in range(len(case.labels))]
    assert source.paths == [str(tmp_path / file) for file in paths]
    assert case.remark in " ".join(source.remarks) and bool(case.remark) == bool(source.remarks)


# A table -> the digest of its records, and its classes, of the version in which pyarrow guessed the types of a CSV.
ORDINARY = {
    "names.csv": ("path,label,box\na/0,bee,\na/1,ant,1 2 30 40\nb/2,bee,0 0 9.6 9\n", "c62c091ea322596e",
                  ["ant", "bee"]),
    "numbers.csv": ("path,label\na/0,10\na/1,9\nb/2,-3\n", "393940a923ae5f67", ["-3", "9", "10"]),
    "floats.csv": ("path,label\na/0,10.5\na/1,9.5\nb/2,1.5\n", "393940a923ae5f67", ["1.5", "9.5", "10.5"]),
    "several.csv": ("path,labels\na/0,10|9\na/1,9\nb/2,2|10\n", "9749fc59b6383bb6", ["10", "2", "9"]),
    "split.csv#x": ("path,label,split\na/0,bee,x\na/1,ant,x\nb/2,bee,y\n", "2aefc9fb1ff04ef9", ["ant", "bee"]),
    "numbers.parquet": ({"label": [10, 9, -3]}, "393940a923ae5f67", ["-3", "9", "10"]),
    "texts.parquet": ({"label": ["10", "9", "2"]}, "05cf6a71f501a147", ["10", "2", "9"]),
    "lists.parquet": ({"labels": [[10, 9], [9], [2]]}, "78f2864802fe53fa", ["2", "9", "10"]),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_table_is_the_same_data_as_ever(name, tmp_path):
    content, records, classes = ORDINARY[name]
    path = tmp_path / name.partition("#")[0]
    if isinstance(content, str):
        path.write_text(content)
    else:
        pa.parquet.write_table(pa.table({"path": ["a/0", "a/1", "b/2"]} | content), path)
    for file in ("a/0", "a/1", "b/2"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(file.encode())
    found = identity.identity(datasets.build("manifest", path=str(tmp_path / name)))
    assert (found["records"], found["class_names"]) == (records, classes)
