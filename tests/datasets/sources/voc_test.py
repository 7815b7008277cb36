import pytest

from geodesic import datasets
from geodesic.errors import UserError
from tests.datasets import images


def thing(name="cat", corners=(11, 21, 30, 40), more="<difficult>0</difficult>") -> str:
    numbers = "".join(f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners,
                                                                        strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{numbers}</bndbox></object>"


def note(*things: str, file="0.png", size="<size><width>60</width><height>40</height><depth>3</depth></size>") -> str:
    return f"<annotation><folder>x</folder><filename>{file}</filename>{size}{''.join(things)}</annotation>"


def write(folder, *notes: str, sets=(), pictures="JPEGImages", annotations="Annotations"):
    for name in (pictures, annotations):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for place, content in enumerate(notes):
        (folder / annotations / f"{place}.xml").write_text(content)
        (folder / pictures / f"{place}.png").write_bytes(images.encoded(images.pixels(place, 40, 60), "PNG"))
    for name, content in sets:
        (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text(content)
    return str(folder)


def test_corners_are_from_1_and_inclusive(tmp_path):
    whole = thing("dog", (1, 1, 60, 40))
    path = write(tmp_path, note(thing(), whole), note(file="1.png"),
                 note(thing("cat", (1, 1, 1, 1), "<difficult>1</difficult>"), file="2.png"))
    source = datasets.build("voc", path=path)
    assert source.class_names == ["cat", "dog"] and len(source) == 3 and not source.remarks
    first = source[0]
    assert first["boxes"].tolist() == [[10, 20, 30, 40], [0, 0, 60, 40]] and first["areas"].tolist() == [400, 2400]
    assert first["classes"].tolist() == [0, 1] and first["size"] == (40, 60)
    assert datasets.decode(first).shape == (40, 60, 3) and source[1]["boxes"].shape == (0, 4)
    assert source[2]["boxes"].tolist() == [[0, 0, 1, 1]] and source[2]["crowd"].tolist() == [True]


def test_parts_of_an_object_are_none(tmp_path):
    inner = "<difficult>0</difficult><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    source = datasets.build("voc", path=write(tmp_path, note(thing(more=inner))))
    assert source.class_names == ["cat"] and source[0]["boxes"].tolist() == [[10, 20, 30, 40]]


def test_a_set_has_all_classes(tmp_path):
    path = write(tmp_path, note(thing("dog")), note(thing("cat"), file="1.png"), note(thing("dog"), file="2.png"),
                 sets=[("train", "2\n0\n"), ("cat_train", "1  1\n0 -1\n"), ("odd", "0\nnone\n")])
    source = datasets.build("voc", path=f"{path}#train")
    assert [one.split("/")[-1] for one in source.paths] == ["2.png", "0.png"]
    assert source.class_names == ["cat", "dog"] and source.annotations(0)["classes"].tolist() == [1]
    assert len(datasets.build("voc", path=f"{path}#cat_train")) == 2
    with pytest.raises(UserError, match="1 of its 2 names have no XML file, the first 'none'"):
        datasets.build("voc", path=f"{path}#odd")
    with pytest.raises(UserError, match=r"no list '.*/test.txt'; there is cat_train, odd, train"):
        datasets.build("voc", path=f"{path}#test")


def test_notes_and_pictures_side_by_side(tmp_path):
    source = datasets.build("voc", path=write(tmp_path, note(thing(), file="C:\\photos\\old name.jpg"), pictures=".",
                                              annotations="."))
    assert source.paths == [f"{tmp_path}/0.png"]


def test_sizes_that_are_not_known(tmp_path):
    for size in ("", "<size><width>0</width><height>0</height></size>"):
        source = datasets.build("voc", path=write(tmp_path, note(thing(corners=(1, 1, 900, 9)), size=size)))
        assert "size" not in source[0] and source[0]["boxes"].tolist() == [[0, 0, 900, 9]]


def test_corners_of_0_are_said(tmp_path):
    source = datasets.build("voc", path=write(tmp_path, note(thing(corners=(0, 5, 9, 9)))))
    assert source[0]["boxes"].tolist() == [[-1, 4, 9, 9]]
    assert len(source.remarks) == 2 and "1 box(es) reach over the edge" in source.remarks[0]
    assert "1 object(s) have corners below 1, where VOC has none" in source.remarks[1]


@pytest.mark.parametrize("content, message", [
    (note(thing(corners=(11, "x", 30, 40))), "object 1 has 'x' where a number is expected"),
    (note(thing(), thing(corners=(11, "nan", 30, 40))), "object 2 has 'nan' where a number is expected"),
    (note(thing(corners=(30, 21, 11, 40))), "object 1, of '0.xml', ends before it begins: x 29 to 11"),
    (note(thing(), thing(corners=(61, 21, 70, 40))), "object 2, of '0.xml', lies outside of its picture: x 60 to 70"),
    (note("<object><name>cat</name><robndbox/></object>"), "object 1 has no bndbox"),
    (note(thing(corners=(11, "", 30, 40))), "object 1 has no ymin"), (note(thing(name=" ")), "object 1 has no name"),
    (note(thing(), size="<size><width>wide</width></size>"), "size has 'wide'"), ("<annotation>", "0.xml is no XML"),
    ("<html/>", "is an XML file of <html>: expected <annotation>"), (note(), "none of its 1 XML files has an object")])
def test_what_a_note_cannot_mean_is_refused_in_a_line(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as error:
        datasets.build("voc", path=write(tmp_path, content))
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_what_is_not_there(tmp_path):
    path = write(tmp_path, note(thing()))
    (tmp_path / "JPEGImages" / "0.png").unlink()
    with pytest.raises(UserError, match=r"0.xml: its picture '0.png' is not there"):
        datasets.build("voc", path=path)
    (tmp_path / "Annotations" / "0.xml").unlink()
    with pytest.raises(FileNotFoundError, match="no XML file in"):
        datasets.build("voc", path=path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        datasets.build("voc", path=str(tmp_path / "gone"))
    with pytest.raises(UserError, match="is read from a disk; of a bucket, coco is"):
        datasets.build("voc", path="gs://bucket/voc")
