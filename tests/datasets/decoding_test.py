import io

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from geodesic import datasets
from geodesic.datasets import decoding
from geodesic.errors import UserError
from tests.datasets import images, odd_pictures

ODD = odd_pictures.pictures()


def record(content, path="x.jpg"):
    return {"image": content, "label": 0, "path": path}


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats_come_back_exactly(kind):
    image = images.pixels(0)
    np.testing.assert_array_equal(decoding.decode(record(images.encoded(image, kind))), image)


def test_jpeg_comes_back_nearly():
    image = images.pixels(1)
    assert np.abs(decoding.decode(record(images.encoded(image, quality=95))).astype(int) - image).mean() < 3


def test_pixels_stay_as_they_are():
    image = images.pixels(2)
    assert decoding.decode(record(image)) is image


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_other_colour_modes_become_rgb(mode):
    buffer = io.BytesIO()
    PIL.Image.fromarray(images.pixels(3)).convert(mode).save(buffer, "PNG")
    assert decoding.decode(record(buffer.getvalue())).shape == (24, 20, 3)


def test_cmyk_jpeg_becomes_rgb():
    buffer = io.BytesIO()
    PIL.Image.fromarray(images.pixels(4)).convert("CMYK").save(buffer, "JPEG")
    assert decoding.decode(record(buffer.getvalue())).shape == (24, 20, 3)


def test_exif_orientation_is_applied():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    assert decoding.decode(record(images.encoded(images.pixels(5), exif=exif.tobytes()))).shape == (20, 24, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "PPM"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_images_raise_with_their_path(kind, share):
    content = images.encoded(images.pixels(6, 64, 64), kind)
    with pytest.raises(ValueError, match="cannot read the image folder/broken"):
        decoding.decode(record(content[:int(share * len(content))], "folder/broken"))


def test_what_is_no_image_raises():
    with pytest.raises(ValueError, match=r"cannot read the image notes\.jpg"):
        decoding.decode(record(b"not an image", "notes.jpg"))


@pytest.mark.parametrize(("content", "reason"), [
    (b"not an image", "(12 bytes): it is no image that can be read (first bytes 6e 6f 74 20 61 6e 20 69)"),
    (b"", "(0 bytes): it is empty"),
    (b"\xff\xd8\xff\xe0", "(4 bytes): it is no image that can be read (first bytes ff d8 ff e0)"),
    (b"GIF89a", "(6 bytes): "), (b"\x89PNG\r\n\x1a\n", "(8 bytes): "),
    (b"BM" + bytes(30), "(32 bytes): "), (b"RIFF\0\0\0\0WEBPVP8 ", "(16 bytes): "),
    (b"II*\0" + bytes(9), "(13 bytes): "),
])
def test_the_reason_says_what_the_file_is_and_never_where_in_memory(content, reason):
    with pytest.raises(ValueError) as error:
        decoding.decode(record(content))
    assert str(error.value).startswith(f"cannot read the image x.jpg {reason}")
    assert " at 0x" not in str(error.value) and "BytesIO" not in str(error.value)
    with pytest.raises(ValueError) as again:
        decoding.decode(record(content))
    assert str(again.value) == str(error.value)


def test_why_an_image_of_a_source_cannot_be_read(tmp_path):
    paths = [str(tmp_path / name) for name in ("whole.png", "damaged.png", "gone.png")]
    content = images.encoded(images.pixels(0), "PNG")
    (tmp_path / "whole.png").write_bytes(content)
    (tmp_path / "damaged.png").write_bytes(content[:100])
    source = datasets.Files(paths, [0, 0, 0], ["a"])
    lines = [datasets.problem(source, index) for index in range(3)]
    assert lines[0] == f"{paths[0]} could not be read, but can be now"
    assert lines[1].startswith(f"cannot read the image {paths[1]} (100 bytes): ")
    assert paths[2] in lines[2] and "No such file" in lines[2]


def resized(content: bytes, side: int) -> bytes:
    """A JPEG whose header says that it has side x side pixels."""
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + side.to_bytes(2, "big") * 2 + content[at + 4:]


def test_an_image_of_too_many_pixels_is_refused_before_they_are_made(monkeypatch):
    with pytest.raises(ValueError, match="65000 x 65000 pixels, more than 400,000,000"):
        decoding.decode(record(resized(images.encoded(images.pixels(0)), 65000)))
    monkeypatch.setattr(decoding, "MAX_PIXELS", 24 * 20 - 1)
    for kind in ("JPEG", "PNG", "TIFF"):
        with pytest.raises(ValueError, match="it has 24 x 20 pixels, more than 479"):
            decoding.decode(record(images.encoded(images.pixels(0), kind)))
    monkeypatch.setattr(decoding, "MAX_PIXELS", 24 * 20)
    for kind in ("JPEG", "PNG", "TIFF"):
        assert decoding.decode(record(images.encoded(images.pixels(0), kind))).shape == (24, 20, 3)


@pytest.mark.parametrize("orientation", [1, 6])
def test_pillows_limit_is_not_that_of_photographs(orientation, monkeypatch):
    """Today's telephones take 200 million pixels, turned as their Exif data say."""
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    content = images.encoded(images.pixels(5), exif=exif.tobytes())
    expected = decoding.decode(record(content))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    np.testing.assert_array_equal(decoding.decode(record(content)), expected)


def test_a_pillow_image_is_read_as_its_file_would_be():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    opened = PIL.Image.open(io.BytesIO(images.encoded(images.pixels(5), "PNG", exif=exif.tobytes())))
    np.testing.assert_array_equal(decoding.from_pillow(opened), np.rot90(images.pixels(5), -1))
    assert decoding.from_pillow(PIL.Image.new("L", (3, 2), 7)).tolist() == [[[7] * 3] * 3] * 2


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_sixteen_bits_keep_their_picture(dtype):
    """Pillow alone would clip them, and show white."""
    grey = (np.arange(64 * 48).reshape(64, 48) * 20).astype(dtype)
    buffer = io.BytesIO()
    PIL.Image.fromarray(grey).save(buffer, "PNG" if dtype == np.uint16 else "TIFF")
    np.testing.assert_array_equal(decoding.decode(record(buffer.getvalue()))[:, :, 1], grey >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_pillows(orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    content = images.encoded(images.pixels(5, 64, 48), quality=95, exif=exif.tobytes())
    expected = np.array(PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(content))))
    assert np.abs(decoding.decode(record(content)).astype(int) - expected).max() <= 2


def test_a_jpeg_at_scale_says_how_large_it_was():
    content = images.encoded(images.pixels(6, 640, 400))
    scaled = decoding.decode_to_scale(record(content), lambda height, width: (100, 100))
    assert (scaled.height, scaled.width) == (640, 400) and 100 <= min(scaled.pixels.shape[:2]) < 160
    whole = decoding.decode_to_scale(record(content), lambda height, width: (400, 250))  # no more than a half to spare
    assert whole.pixels.shape == (640, 400, 3)


@pytest.mark.filterwarnings("ignore:Tag data larger than file")  # Pillow's, of the damaged Exif
@pytest.mark.parametrize("name", [name for name, (_, shown) in ODD.items() if not isinstance(shown, str)])
def test_odd_pictures_show_what_they_show(name):
    content, shown = ODD[name]
    found = decoding.decode(record(content, name))
    assert found.dtype == np.uint8 and found.shape == shown.shape and found.flags.c_contiguous
    difference = np.abs(found.astype(int) - shown)
    inks_or_jpeg = name.endswith(".jpg") or name.startswith("inks")
    assert difference.mean() < 3 if inks_or_jpeg else difference.max() == 0


@pytest.mark.parametrize("name", [name for name, (_, shown) in ODD.items() if isinstance(shown, str)])
def test_odd_files_are_refused_by_their_names(name):
    content, reason = ODD[name]
    with pytest.raises(UserError) as error:
        decoding.decode(record(content, f"folder/{name}"))
    assert str(error.value).startswith(f"cannot read the image folder/{name} ({len(content)} bytes): ")
    assert reason in str(error.value) and "0x" not in str(error.value) and "<" not in str(error.value)


@pytest.mark.parametrize("name", ["exif.png", "xmp.jpg", "cut_out_noise_below.png", "colour_key.png", "inks.jpg",
                                  "12_bits_of_16.png", "floats_to_1.tif", "palette_bytes.png"])
def test_an_opened_picture_is_read_as_its_file(name):
    content, _ = ODD[name]
    opened = PIL.Image.open(io.BytesIO(content))
    mode, size = opened.mode, opened.size
    found = decoding.from_pillow(opened).astype(int)
    assert np.abs(found - decoding.decode(record(content))).max() <= 2
    assert (opened.mode, opened.size) == (mode, size)  # the owner's picture stays as it is


def test_an_opened_picture_is_turned_once():
    """What Pillow has turned upright says so, and is left."""
    opened = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(ODD["exif.png"][0])))
    np.testing.assert_array_equal(decoding.from_pillow(opened), odd_pictures.PICTURE)


def test_a_jpeg_without_notes_is_not_opened_twice(monkeypatch):
    """Looking for notes must stay cheap: the header is read by Pillow only where there are some."""
    monkeypatch.setattr(decoding, "_opened_jpeg", lambda image: pytest.fail("opened by Pillow"))
    plain = images.encoded(images.pixels(1))
    decoding.decode(record(odd_pictures.segment(plain, 0xED, b"Exif\0\0 is mentioned here")))
    decoding.decode(record(odd_pictures.segment(plain, 0xE1, b"http://ns.adobe.com/xap/1.0/\0<no orientation/>")))
