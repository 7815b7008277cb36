"""Names that a terminal, a figure, a pattern or an encoding reads as something else; folders as systems leave them."""

import os

import PIL.Image
import pyarrow.parquet as pq

from geodesic import datasets
from geodesic.experiments.trained import embedding_file
from tests.datasets import images, odd_folders
from tests.experiments import tiny
from tests.odd_files.place import Place, Row, listed


def embedded_and_found(place: Place, *names: str) -> str:
    """By geodesic embed and geodesic search: stored, printed as they stand, and drawn."""
    for seed, name in enumerate(names):
        place.picture(f"photos/{name}", seed)
    folder, out, sheet = place.folder / "photos", place.folder / "e.parquet", place.folder / "found.png"
    query = place.picture("[/bold]x.png", 99)
    place.command("embed", f"--workdir={place.shared.weights}", f"--images={folder}", f"--out={out}")
    content = embedding_file.read(str(out))
    assert sorted(content.paths) == sorted(f"{folder}/{name}" for name in names), content.paths
    assert len(pq.read_table(out)) == len(names)
    output = place.command("search", f"--workdir={place.shared.weights}", f"--embeddings={out}", f"--query={query}",
                           f"--out={sheet}", "--k=20")
    for name in names:
        assert f" photos/{name} " in output, (name, output)
    assert PIL.Image.open(sheet).size[0] > 300
    return f"embed and search end with 0, print and draw {listed(names)}"


def no_utf8(place: Place) -> str:
    said = embedded_and_found(place, "caf\udce9.png", "ok.png")
    (place.folder / "photos").rename(place.folder / "caf\udce9")
    place.command("prepare", "--source=image_folder", f"--path={place.folder}/caf\udce9", f"--out={place.folder}/out")
    source = place.source("array_record", place.folder / "out")
    assert sorted(map(os.path.basename, source.paths)) == ["caf\\xe9.png", "ok.png"], source.paths
    return f"{said}; prepare stores it as {listed([os.path.basename(source.paths[0])])}"


def other_formats(place: Place) -> str:
    kinds = {"0.JPG": "JPEG", "1.jfif": "JPEG", "2.jpe": "JPEG", "3.gif": "GIF", "4.avif": "AVIF", "5.TIFF": "TIFF",
             "6.jp2": "JPEG2000", "7.ppm": "PPM", "8.webp": "WEBP"}
    folder = place.folder / "photos"
    folder.mkdir()
    for name, kind in kinds.items():
        (folder / name).write_bytes(images.encoded(images.pixels(1), kind))
    source = place.source("image_folder", folder)
    assert [os.path.basename(path) for path in source.paths] == [name for name in kinds if name != "6.jp2"]
    assert all(datasets.decode(source[index]).shape == (24, 20, 3) for index in range(len(source)))
    assert any("1 .jp2" in remark for remark in source.remarks)
    return f"{len(source)} of {len(kinds)} read; {place.tell(source.remarks[0])}"


def as_systems_leave_them(place: Place) -> datasets.Source:
    folder = odd_folders.write(place.folder)
    source = place.source("image_folder", folder)
    assert source.class_names == [*odd_folders.RECORDS]
    assert source.paths == [os.path.join(folder, file) for files in odd_folders.RECORDS.values() for file in files]
    assert source.remarks == [f"{folder}: {remark}" for remark in odd_folders.REMARKS]
    return source


def litter(place: Place) -> str:
    source = as_systems_leave_them(place)
    return f"classes {listed(source.class_names)}; {place.tell(source.remarks[0])}"


def linked_class(place: Place) -> str:
    source = as_systems_leave_them(place)
    of = [os.path.basename(path) for path in source.paths if "/elsewhere/" in path]
    assert of == ["0.png", "0.png"] and not any("zzz_again" in path for path in source.paths)
    one = images.make_folder(place.folder / "one", 2, 2)
    (place.folder / "two").mkdir()
    (place.folder / "two" / "linked").symlink_to(one / "class0")
    (place.folder / "root").symlink_to(place.folder / "two")
    assert place.source("image_folder", place.folder / "root").class_names == ["linked"]
    return "the class is read, once; a second link to it, and a link to what holds the root, are not followed and said"


def stray_picture(place: Place) -> str:
    source = as_systems_leave_them(place)
    return place.tell(source.remarks[1])


def higher(place: Place) -> str:
    for part in ("train", "test"):
        tiny.faces(place.folder / "photos" / part, 2, 2)
    source = place.source("image_folder", place.folder / "photos")
    assert source.class_names == ["test", "train"]
    return place.tell(next(remark for remark in source.remarks if "one level too high" in remark))


ROWS = {
    "names_of_no_utf8": Row("caf\\xe9.png in Latin-1", no_utf8),
    "other_formats": Row(".JPG .jfif .jpe .gif .avif .TIFF .jp2 .ppm .webp", other_formats,
                         "JPEG 2000 is counted, and not read."),
    "litter": Row(".ipynb_checkpoints, __MACOSX, @eaDir, lost+found, $RECYCLE.BIN, also inside of classes", litter),
    "linked_class": Row("a class folder that is a link, twice; links in circles; a linked root", linked_class),
    "stray_picture": Row("a picture beside the class folders", stray_picture,
                         "A folder without sub-folders is one class by the same rule."),
    "one_level_too_high": Row("photos, for photos/train with the classes in it", higher),
    "markup_in_names": Row("brackets, colons, markup and percent signs in names",
                           lambda place: embedded_and_found(place, "cat [old].png", "cat.png", "a :smile: b.png",
                                                            "[red]x[/bold]y.png", "100%.png")),
    "dollars_in_names": Row("dollar signs and TeX in names", lambda place: embedded_and_found(
        place, "Ba$$in.png", "shoe_$20_$30.png", "a$^{b$.png", "$\\frac$.png")),
}
