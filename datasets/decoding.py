"""From a record's bytes to pixels."""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageOps
import simplejpeg

from ..errors import UserError

# Pillow raises by itself past twice this; a photograph of that size in a data set is a mistake or an attack.
PIL.Image.MAX_IMAGE_PIXELS = 200_000_000

_ORIENTATION = 0x0112  # the Exif tag; 1 is upright


class Decoded(NamedTuple):
    """Pixels, perhaps fewer than the file has, and the file's own size."""

    pixels: np.ndarray  # u8[h,w,3], RGB, upright
    height: int         # of the whole image
    width: int


def decode(record: dict) -> np.ndarray:
    """u8[H,W,3], RGB, upright (Exif orientation applied). Raises UserError, naming the path, for a damaged image.

    A truncated file is damaged: decoders that fill the rest with grey would train on it in silence.
    """
    return decode_to_scale(record, None).pixels


def decode_to_scale(record: dict, wanted: Callable[[int, int], tuple[int, int]] | None) -> Decoded:
    """As `decode`, but a JPEG may come at a half or less of its size, which costs less than shrinking it afterwards.

    wanted: (height, width) of the whole image -> (height, width) that it must keep at least; None: all of it.
    """
    image = record["image"]
    if isinstance(image, np.ndarray):
        return Decoded(image, *image.shape[:2])
    try:
        return _decode(image, wanted)
    except Exception as error:  # Pillow's plugins raise many kinds; all of them mean that this file is no image
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot read the image {record['path']} ({len(image)} bytes): {reason}") from error


def _decode(image: bytes, wanted) -> Decoded:
    if image[:2] == b"\xff\xd8" and _is_upright(image):
        try:
            return _decode_jpeg(image, wanted)
        except ValueError:
            pass  # CMYK, or a warning of libjpeg: Pillow reads the harmless ones and raises for a truncated file
    with PIL.Image.open(io.BytesIO(image)) as opened:
        pixels = _to_rgb(PIL.ImageOps.exif_transpose(opened))
    return Decoded(pixels, *pixels.shape[:2])


def _decode_jpeg(image: bytes, wanted) -> Decoded:
    height, width, _, _ = simplejpeg.decode_jpeg_header(image)
    if height * width > 2 * PIL.Image.MAX_IMAGE_PIXELS:
        raise UserError(f"{height} x {width} pixels")
    least = (0, 0) if wanted is None else wanted(height, width)
    if wanted is None or 2 * least[0] > height or 2 * least[1] > width:
        return Decoded(simplejpeg.decode_jpeg(image, "RGB"), height, width)
    # Between a half and the whole, libjpeg has no fast transform: not worth it.
    return Decoded(simplejpeg.decode_jpeg(image, "RGB", min_height=least[0], min_width=least[1], min_factor=2),
                   height, width)


def _is_upright(image: bytes) -> bool:
    if b"Exif\0\0" not in image[:4096]:
        return True
    with PIL.Image.open(io.BytesIO(image)) as opened:  # reads the header alone
        return opened.getexif().get(_ORIENTATION, 1) == 1


def _to_rgb(image: PIL.Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow would clip them to 8, and show white
        grey = (np.clip(np.array(image, np.int64), 0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))
