import pathlib
import re

import pytest

from geodesic import datasets
from geodesic.datasets import heif
from geodesic.datasets.sources import image_folder
from tests.datasets import images

PAGE = pathlib.Path("docs/data.md").read_text()


def test_the_page_of_data_has_every_source_once():
    table = PAGE.split("## Sources")[1].split("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert rows[0] == "name" and sorted(rows[1:]) == sorted(datasets.SOURCES)


def test_the_page_of_data_has_the_extensions_that_are_read():
    found = re.search(r"`image_folder` reads the files called ([^;]*), in (.*?) where", PAGE, re.DOTALL)
    always, perhaps = found.groups()
    assert tuple(re.findall(r"`(\.\w+)`", always)) == image_folder.EXTENSIONS
    assert tuple(re.findall(r"`(\.\w+)`", perhaps)) == heif.EXTENSIONS


@pytest.mark.parametrize("extension", image_folder.EXTENSIONS)
def test_an_image_of_every_extension_is_read(tmp_path, extension):
    kind = {".jpg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".pgm": "PPM", ".tif": "TIFF"}
    kind = kind.get(extension, extension[1:].upper())
    (tmp_path / f"a{extension.upper()}").write_bytes(images.encoded(images.pixels(0), kind))
    source = datasets.build("image_folder", path=str(tmp_path))
    assert datasets.decode(source[0]).shape == (24, 20, 3)


def test_what_is_said_of_sources_is_said_of_those_that_there_are():
    assert datasets.DATA_SETS < {*datasets.SOURCES} and datasets.FIND_THEMSELVES < {*datasets.SOURCES}
    assert {*datasets.CREDITS} <= {*datasets.SOURCES}
    assert len(datasets.build("orl_faces")) == 400  # without a path
