import json
import os
import shutil

import numpy as np
import pytest

from geodesic import datasets
from geodesic.datasets import identity, source
from geodesic.datasets.sources import array_record, rotated
from tests.datasets import images
from tests.datasets.sources import array_record_test, ijb_test, omniglot_test, pairs_test, record_io_test

CLASSES, IMAGES = 3, 4


@pytest.fixture
def folder(tmp_path):
    return images.make_folder(tmp_path / "photos", CLASSES, IMAGES)


def write_csv(path, rows):
    path.write_text("path,label\n" + "".join(f"{file},{label}\n" for file, label in rows))
    return path


@pytest.fixture
def csv(folder):
    return write_csv(folder / "m.csv", [(f"class{label}/{index}.jpg", "abc"[label])
                                        for index in range(IMAGES) for label in range(CLASSES)])


def write_npz(path, pixels, labels):
    np.savez(path, images=pixels, labels=labels)
    return path


@pytest.fixture
def arrays():
    return np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8), np.arange(12) % 3


def of(name, path, **options):
    found = identity.identity(datasets.build(name, path=str(path), **options))
    assert json.loads(json.dumps(found)) == found
    return found


def test_what_an_identity_holds(folder):
    found = of("image_folder", folder)
    assert found["class_names"] == ["class0", "class1", "class2"] and found["images"] == [4, 4, 4]
    assert len({*found["classes"]}) == 3 and all(len(bytes.fromhex(digest)) == 8 for digest in found["classes"])
    assert len(bytes.fromhex(found["records"])) == 8


def test_a_source_is_the_same_wherever_it_lies(folder, csv, tmp_path, monkeypatch):
    before = of("image_folder", folder), of("manifest", csv)
    shutil.copytree(folder, tmp_path / "elsewhere" / "deep" / "copied")
    os.symlink(folder, tmp_path / "link")
    monkeypatch.chdir(tmp_path)
    around = f"../{tmp_path.name}/photos"
    for path in (tmp_path / "elsewhere" / "deep" / "copied", tmp_path / "link", "photos", "./photos/", around):
        now = of("image_folder", path), of("manifest", f"{path}/m.csv")
        assert now == before
        assert [identity.changes(*pair) for pair in zip(before, now, strict=True)] == ["", ""]
    moved = write_csv(tmp_path / "list.csv", [(folder / row.split(",")[0], row.split(",")[1])
                                              for row in csv.read_text().splitlines()[1:]])
    assert of("manifest", moved) == before[1]


def change(folder, how):
    """Changes a folder of images; returns what `changes` should say."""
    if how == "renamed":
        (folder / "class1").rename(folder / "wasp")
        return "class 'wasp' was called 'class1'"
    if how == "inserted":
        shutil.copytree(folder / "class2", folder / "ant")
        (folder / "ant" / "0.jpg").unlink()
        return "class 'ant' is new"
    if how == "removed":
        shutil.rmtree(folder / "class0")
        return "class 'class0' is gone"
    if how == "another size":
        (folder / "class1" / "2.jpg").write_bytes((folder / "class1" / "2.jpg").read_bytes() + b" ")
        return "the images of class 'class1' are others"
    if how == "another image of the same size":  # as all images of many formats are
        content = bytearray((folder / "class1" / "2.jpg").read_bytes())
        content[len(content) // 2 + 10] ^= 1
        (folder / "class1" / "2.jpg").write_bytes(content)
        return "the images of class 'class1' are others"
    if how == "another name":
        (folder / "class1" / "2.jpg").rename(folder / "class1" / "5.jpg")
        return "the images of class 'class1' are others"
    if how == "added":
        shutil.copy(folder / "class2" / "0.jpg", folder / "class2" / "9.jpg")
        return "the images of class 'class2' are others (4 then, 5 now)"
    raise AssertionError(how)


@pytest.mark.parametrize("how", ["renamed", "inserted", "removed", "another size",
                                 "another image of the same size", "another name", "added"])
def test_what_changes_in_a_folder_is_named(folder, how):
    before = of("image_folder", folder)
    expected = change(folder, how)
    now = of("image_folder", folder)
    assert identity.changes(before, now) == expected
    assert now["records"] != before["records"]
    untouched = {*before["class_names"]} & {*now["class_names"]} - {name for name in before["class_names"]
                                                                   if repr(name) in expected}
    digests = [dict(zip(one["class_names"], one["classes"], strict=True)) for one in (before, now)]
    assert untouched and all(digests[0][name] == digests[1][name] for name in untouched)


def test_classes_that_exchange_their_images(folder):
    before = of("image_folder", folder)
    for old, new in (("class0", "x"), ("class1", "class0"), ("x", "class1")):
        (folder / old).rename(folder / new)
    assert identity.changes(before, of("image_folder", folder)) == (
        "class 'class0' was called 'class1', class 'class1' was called 'class0'")


def relabelled(csv, how):
    rows = [row.split(",") for row in csv.read_text().splitlines()[1:]]
    names, expected = {
        "renamed": ({"b": "wasp"}, "class 'wasp' was called 'b'"),
        "permuted": ({"a": "b", "b": "a"}, "class 'a' was called 'b', class 'b' was called 'a'"),
        "merged": ({"b": "a"}, "class 'b' is gone, the images of class 'a' are others (4 then, 8 now)"),
    }.get(how, ({}, ""))
    if how == "reordered":
        rows, expected = sorted(rows), "the order of the images has changed, or their folders"
    if how == "of one size":
        files = sorted(file for file, _ in rows)
        rows = [*zip([*files[4:8], *files[:4], *files[8:]], sorted(label for _, label in rows), strict=True)]
        expected = "the order of the images has changed, or their folders"
    write_csv(csv, [(file, names.get(label, label)) for file, label in rows])
    return expected


@pytest.mark.parametrize("how", ["renamed", "permuted", "merged", "reordered", "of one size"])
def test_what_changes_in_a_manifest_is_named(csv, how):
    if how == "of one size":
        write_csv(csv, sorted((row.split(",") for row in csv.read_text().splitlines()[1:]), key=lambda row: row[1]))
        for row in csv.read_text().splitlines()[1:]:
            (csv.parent / row.split(",")[0]).write_bytes(bytes(100))
    before = of("manifest", csv)
    expected = relabelled(csv, how)
    now = of("manifest", csv)
    assert identity.changes(before, now) == expected and now["records"] != before["records"]


def test_what_a_manifest_says_of_an_image_counts(csv):
    before = of("manifest", csv)
    rows = csv.read_text().splitlines()
    csv.write_text("\n".join([rows[0] + ",box", rows[1] + ",0 0 9 9", *(f"{row}," for row in rows[2:])]))
    assert identity.changes(before, of("manifest", csv)).startswith("the images of class 'a' are others")
    csv.write_text("\n".join(["path,labels", *rows[1:]]))
    several = of("manifest", csv)
    csv.write_text("\n".join(["path,labels", rows[1] + "|c", *rows[2:]]))
    assert identity.changes(several, of("manifest", csv)) == "the images of class 'a' are others"


def test_arrays_are_known_by_their_content(arrays, tmp_path):
    pixels, labels = arrays
    before = of("npz", write_npz(tmp_path / "a.npz", pixels, labels))
    assert of("npz", write_npz(tmp_path / "b.npz", np.asfortranarray(pixels), labels)) == before
    other = pixels.copy()
    other[4, 3, 3] ^= 1
    order = np.arange(12)[::-1]
    for changed, expected in (
            ((other, labels), "the images of class '1' are others"),
            ((pixels, labels * 2 + 1), "class '1' was called '0', class '3' was called '1', class '5' was called '2'"),
            ((pixels, labels + 10), "class '10' was called '0', class '11' was called '1', class '12' was called '2'"),
            ((pixels, np.array([1, 0, 2])[labels]), "class '0' was called '1', class '1' was called '0'"),
            ((pixels, labels[::-1]), "class '0' was called '2', class '2' was called '0'"),
            ((pixels[:11], labels[:11]), "the images of class '2' are others (4 then, 3 now)"),
            ((pixels[np.argsort(labels, kind="stable")], np.sort(labels)),
             "the order of the images has changed, or their folders"),
            ((pixels[order], labels[order]), "the images of class '0' are others, the images of class '1' are others, "
                                             "the images of class '2' are others")):
        now = of("npz", write_npz(tmp_path / "c.npz", *changed))
        assert identity.changes(before, now) == expected
        assert (now["records"] == before["records"]) == (expected.count("was called") == 3)  # in the same order


def test_no_more_than_three_changes_are_named():
    one = {"class_names": list("abcde"), "images": [1] * 5, "classes": list("12345"), "records": "x"}
    named = "class 'f' is new, class 'a' is gone, the images of class 'b' are others"
    for others, rest in (("b", ""), ("bc", " and 1 more change"), ("bcde", " and 3 more changes")):
        now = {"class_names": list("bcdef"), "images": [1] * 5, "records": "y",
               "classes": ["!" if name in others else digest for name, digest in zip("bcdef", "23456", strict=True)]}
        assert identity.changes(one, now) == named + rest
    assert identity.changes(one, one | {"class_names": list("bacde"), "classes": list("21345")}) == (
        "the order of the classes has changed")


def containers(folder, tail=b""):
    """Source -> the path of one in this folder. tail: behind the second image of the .rec file."""
    folder.mkdir(exist_ok=True)
    header, jpeg = record_io_test.header, record_io_test.jpeg
    made = {"record_io": record_io_test.write(folder, {
        0: header([4, 6], 0), 1: header([0], 1) + jpeg(1), 2: header([0], 2) + jpeg(2) + tail,
        3: header([1], 3) + jpeg(3), 4: header([1, 3], 4), 5: header([3, 4], 5)})}
    made["omniglot"] = made["omniglot_rotations"] = made["omniglot_dihedral"] = omniglot_test.write(folder)[1]
    made["pair_images"] = pairs_test.write(folder, (pairs_test.ENCODED, pairs_test.SAME))
    made["ijb"] = str(folder / "IJBB" if (folder / "IJBB").exists() else ijb_test.folder(folder))
    shards = [array_record.write_shard(str(folder), "0", array_record_test.RECORDS)]
    (folder / "manifest.json").write_text(json.dumps({"images": 5, "class_names": ["a", "b"], "shards": shards}))
    return made | {"array_record": str(folder)}


def test_containers_are_the_same_wherever_they_lie(tmp_path):
    here, there = containers(tmp_path / "here"), containers(tmp_path / "there")
    found = {name: of(name, path) for name, path in here.items()}
    assert {name: of(name, path) for name, path in there.items()} == found
    assert len({one["records"] for one in found.values()}) == len(found)
    assert all(sum(one["images"]) == len(datasets.build(name, path=here[name])) for name, one in found.items())


@pytest.mark.parametrize(("name", "where"), [
    ("record_io", "train.idx"), ("omniglot", "o.npz"), ("omniglot_rotations", "o.npz"), ("pair_images", "lfw.bin"),
    ("ijb", "IJBB/loose_crop/1.jpg"), ("array_record", "manifest.json")])
def test_another_content_of_a_container_is_seen(tmp_path, name, where):
    path, file = containers(tmp_path / "here")[name], tmp_path / "here" / where
    before = of(name, path)
    if name == "record_io":
        containers(tmp_path / "here", tail=bytes(4))
    elif name == "array_record":
        content = json.loads(file.read_text())
        content["shards"][0]["sha256"] = "0" * 64
        file.write_text(json.dumps(content))
    elif name == "pair_images":
        pairs_test.write(tmp_path / "here", ([pairs_test.ENCODED[1], *pairs_test.ENCODED[1:]], pairs_test.SAME))
    elif name == "ijb":
        file.write_bytes(file.read_bytes() + b" ")
    else:
        with np.load(file) as content:
            changed = dict(content)
        changed["bits"][1, 7] ^= 1
        np.savez(file, **changed)
    assert "are others" in identity.changes(before, of(name, path))


def test_wrapped_records_keep_their_names(folder):
    whole = datasets.build("image_folder", path=str(folder))
    found = {"of": identity.identity(source.Classes(whole, 0, 2)), "others": identity.identity(
        source.Classes(whole, 1, 3)), "some": identity.identity(source.Records(whole, np.array([0, 4, 5])))}
    assert found["of"]["classes"] == identity.identity(whole)["classes"][:2]
    assert found["of"]["records"] != found["others"]["records"]  # as many of as many classes
    assert found["some"]["images"] == [1, 2, 0]
    assert source.Records(whole, np.array([0, 4, 5])).record_names()[1].startswith("class1/0.jpg ")
    folds = [of("image_folder", folder, folds=3, fold=fold, part="validation") for fold in range(3)]
    assert [fold["class_names"] for fold in folds] == [["class0"], ["class1"], ["class2"]]
    assert len({fold["records"] for fold in folds}) == 3
    turned = identity.identity(rotated.Rotated(whole))
    assert turned["images"] == [4] * 12 and len({*turned["classes"]}) == 12


def test_a_file_that_is_not_there_has_an_identity(folder):
    """Whether it may be missing is for the loader's tolerance to say."""
    listed = source.Files([str(folder / "class0" / "0.jpg"), str(folder / "class0" / "gone.jpg")], [0, 0], ["a"])
    assert listed.record_names()[1] == "gone.jpg -1" and listed.record_names()[0] != "0.jpg -1"
    assert identity.identity(listed)["images"] == [2]


def test_many_files_keep_their_order(tmp_path):
    for index in range(600):
        (tmp_path / f"{index}.jpg").write_bytes(bytes(index))
    names = source.file_names([str(tmp_path / f"{index}.jpg") for index in range(600)])
    assert [name.rpartition(" ")[0] for name in names] == [f"{index}.jpg {index}" for index in range(600)]
