"""Decodes images: from encoded bytes to pixels."""

import io
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.JpegImagePlugin
import simplejpeg

from ..errors import UserError

# A photograph of more pixels in a data set is a mistake or an attack. Pillow has a lower limit of its own for what is
# no JPEG, PIL.Image.MAX_IMAGE_PIXELS, which is the program's to set.
MAX_PIXELS = 400_000_000

# What parsers raise for a header that is none.
_UNPARSED = SyntaxError | IndexError | TypeError | struct.error

_ORIENTATION = 0x0112  # the Exif tag; 1 is upright


class Decoded(NamedTuple):
    """Pixels, perhaps fewer than the file has, and the file's own size."""

    pixels: np.ndarray  # u8[h,w,3], RGB, upright
    height: int         # of the whole image
    width: int


def decode(record: dict) -> np.ndarray:
    """Decodes the image of a record of a source: its pixels, u8[H,W,3], RGB, upright (Exif orientation applied).

    An image that is pixels already is returned as it is. Raises UserError, naming the path, for a damaged image. A
    truncated file is damaged: decoders that fill the rest with grey would train on it in silence.

    Example:
        >>> buffer = io.BytesIO()
        >>> PIL.Image.new("L", (4, 2), 255).save(buffer, "PNG")
        >>> decode({"image": buffer.getvalue(), "path": "white.png"}).shape
        (2, 4, 3)
    """
    return decode_to_scale(record, None).pixels


def decode_to_scale(record: dict, wanted: Callable[[int, int], tuple[int, int]] | None) -> Decoded:
    """Decodes as `decode` does, but perhaps to fewer pixels than a JPEG has, where fewer are wanted.

    Decoding to a half or less of the size costs less than shrinking the image afterwards.
    wanted: (height, width) of the whole image -> (height, width) that it must keep at least; None: all of it.
    Raises as `decode` does.
    """
    image = record["image"]
    if isinstance(image, np.ndarray):
        return Decoded(image, *image.shape[:2])
    try:
        return _decode(image, wanted)
    except Exception as error:  # Pillow's plugins raise many kinds; all of them mean that this file is no image
        raise UserError(f"cannot read the image {record['path']} ({len(image)} bytes): "
                        f"{_reason(error, image)}") from error


def from_pillow(image: PIL.Image.Image) -> np.ndarray:
    """The pixels of a Pillow image, u8[H,W,3], RGB, upright, as `decode` would give those of its file.

    Example:
        >>> from_pillow(PIL.Image.new("L", (4, 2), 255)).shape
        (2, 4, 3)
    """
    return _to_rgb(PIL.ImageOps.exif_transpose(image))


def problem(source, index: int) -> str:
    """Says why image `index` of a source cannot be read, in a line that names it."""
    try:
        decode(source[index])
    except (ValueError, OSError) as error:
        return str(error)
    return f"{source.paths[index]} could not be read, but can be now"


def _reason(error: Exception, image: bytes) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    # Pillow shows where in memory the bytes were, which is another place each time; and of a JPEG, how it was parsed.
    if isinstance(error, PIL.UnidentifiedImageError | _UNPARSED) or " at 0x" in reason:
        return f"it is no image that can be read (first bytes {image[:8].hex(' ')})" if image else "it is empty"
    return reason


def _decode(image: bytes, wanted) -> Decoded:
    is_jpeg = image[:2] == b"\xff\xd8"
    if is_jpeg and _is_upright(image):
        try:
            return _decode_jpeg(image, wanted)
        except ValueError:
            pass  # CMYK, or a warning of libjpeg: Pillow reads the harmless ones and raises for a truncated file
    with _opened_jpeg(image) if is_jpeg else PIL.Image.open(io.BytesIO(image)) as opened:
        _check_size(opened.height, opened.width)
        pixels = from_pillow(opened)
    return Decoded(pixels, *pixels.shape[:2])


def _decode_jpeg(image: bytes, wanted) -> Decoded:
    height, width, _, _ = simplejpeg.decode_jpeg_header(image)
    _check_size(height, width)
    least = (0, 0) if wanted is None else wanted(height, width)
    if wanted is None or 2 * least[0] > height or 2 * least[1] > width:
        return Decoded(simplejpeg.decode_jpeg(image, "RGB"), height, width)
    # Between a half and the whole, libjpeg has no fast transform: not worth it.
    return Decoded(simplejpeg.decode_jpeg(image, "RGB", min_height=least[0], min_width=least[1], min_factor=2),
                   height, width)


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise UserError(f"it has {height} x {width} pixels, more than {MAX_PIXELS:,}")


def _opened_jpeg(image: bytes) -> PIL.JpegImagePlugin.JpegImageFile:
    """Its header alone is read. Not by PIL.Image.open, whose limit is below the pixels of today's telephones."""
    return PIL.JpegImagePlugin.JpegImageFile(io.BytesIO(image))


def _is_upright(image: bytes) -> bool:
    if b"Exif\0\0" not in image[:4096]:
        return True
    with _opened_jpeg(image) as opened:
        return opened.getexif().get(_ORIENTATION, 1) == 1


def _to_rgb(image: PIL.Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow would clip them to 8, and show white
        grey = (np.clip(np.array(image, np.int64), 0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))
