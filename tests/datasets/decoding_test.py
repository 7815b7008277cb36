import io

import numpy as np
import PIL.Image
import pytest

from datasets import decoding
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
