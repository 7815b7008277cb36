"""One small picture in many forms: it shows what it shows, or is refused by its name."""

import json

import numpy as np

from geodesic import datasets
from geodesic.errors import UserError
from tests.datasets import odd_pictures
from tests.odd_files.place import Place, Row

ODD = odd_pictures.pictures()


def shown(place: Place, *beginnings: str) -> tuple[list[str], list[str]]:
    """(the pictures with such names, which are right; the lines of those that are refused)."""
    right, refused = [], []
    for name, (content, expected) in ODD.items():
        if not name.startswith(beginnings):
            continue
        (place.folder / name).write_bytes(content)
        try:
            found = datasets.decode({"image": content, "label": 0, "path": name})
        except UserError as error:
            assert isinstance(expected, str) and expected in str(error), (name, error)
            assert str(error).startswith(f"cannot read the image {name} ({len(content)} bytes): "), error
            assert "0x" not in str(error) and "<" not in str(error), error
            refused.append(str(error))
            continue
        assert not isinstance(expected, str), f"{name} was read"
        assert found.shape == expected.shape, name
        difference = np.abs(found.astype(int) - expected)
        assert difference.mean() < 3 if name.endswith(".jpg") or name.startswith("inks") else not difference.any(), name
        right.append(name)
    assert right or refused
    return right, refused


def are_right(*beginnings: str):
    def check(place: Place) -> str:
        right, refused = shown(place, *beginnings)
        assert not refused, refused
        return f"the picture, of {', '.join(right)}"
    return check


def scaled_or_refused(place: Place) -> str:
    right, refused = shown(place, "floats_", "8_bits_of_32", "12_bits_of_32", "16_bits_of_32", "32_bits", "negative")
    assert len(right) == 5 and len(refused) == 7, (right, refused)
    return f"the picture, of {', '.join(right)}; {len(refused)} others refused, as in: {refused[-1]}"


def one_embedding(place: Place) -> str:
    """What lies below what was cut away does not matter."""
    right, _ = shown(place, "cut_out_", "palette_", "grey_key", "colour_key", "opaque", "turned_cut_out")
    read = [datasets.decode({"image": ODD[f"cut_out_{below}_below.png"][0], "path": "x"})
            for below in ("noise", "black", "white")]
    assert (read[0] == read[1]).all() and (read[0] == read[2]).all() and tuple(read[0][0, 0]) == (255, 255, 255)
    return f"{len(right)} files as over white; three that differ below what is transparent have the same pixels"


def named(place: Place) -> str:
    """By the program that looks for them, twice."""
    _, refused = shown(place, *(name for name, (_, said) in ODD.items() if isinstance(said, str) and (
        said == odd_pictures.NO_IMAGE or name.startswith(("empty", "cut_off")))))
    folder, out = place.folder / "photos", place.folder / "out"
    for name in ("page.jpg", "zeros.jpg", "pointer.jpg", "drawing.png", "packed.jpg", "empty.jpg", "cut_off.png"):
        (folder / "a").mkdir(parents=True, exist_ok=True)
        (folder / "a" / name).write_bytes(ODD[name][0])
    place.picture("photos/a/good.png")
    found = []
    for _ in range(2):
        place.command("inspect_data", "--source=image_folder", f"--path={folder}", f"--out={out}")
        found.append(json.loads((out / "inspection.json").read_text())["data"])
    lines = found[0]["unreadable_images"]
    assert found[0]["unreadable"] == 7 and lines == found[1]["unreadable_images"]
    assert all(f"{folder}/a/" in line and "0x" not in line for line in lines)
    return f"{len(refused)} kinds refused; the same 7 lines on each run of inspect_data, as in: {place.tell(lines[0])}"


ROWS = {
    "inks_without_a_marker": Row("JPEG of CMYK without Adobe's segment, and with it", are_right("inks"),
                                 "The format leaves it open: 0 is no ink without the segment, inverted with it."),
    "notes_far_behind": Row("orientation in Exif behind 9 kB of Photoshop, a profile, 60 kB, padding",
                            are_right("exif_after_")),
    "orientation_in_xmp": Row("orientation in XMP alone: JPEG, PNG, WebP", are_right("xmp")),
    "orientation_in_exif": Row("Exif in JPEG, PNG, WebP and TIFF; damaged Exif, which counts as none",
                               are_right("exif")),
    "floats_and_32_bits": Row("TIFF of floats to 1, 255, 1.5, 65535, below 0, NaN and infinite; of 32-bit numbers",
                              scaled_or_refused, "What reaches beyond known ranges has no scale that could be known."),
    "twelve_bits_of_sixteen": Row("8, 12 and 16 bits in containers of 16, grey and in colour",
                                  are_right("12_bits_of_16", "16_bits.", "8_bits_of_16", "colours_of_",
                                            "opaque_colours_of_", "turned_colours"),
                                  "The file does not say how many bits count; its largest value does."),
    "transparent": Row("cut-outs with noise, black or white below; palettes and colour keys", one_embedding),
    "no_images": Row("a web page, zeros, a pointer of LFS, SVG, gzip, AppleDouble, empty, cut off", named),
}
