import io

import numpy as np
import PIL.Image
import pytest

from geodesic.datasets import decoding
from tests.datasets import images


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
