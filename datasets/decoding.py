"""Decodes images: from encoded bytes to pixels."""

import io
import struct
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import PIL.Image
import PIL.ImageChops
import PIL.JpegImagePlugin
import simplejpeg

from ..errors import UserError
from . import heif

# A photograph of more pixels in a data set is a mistake or an attack. Pillow has a lower limit of its own for what is
# no JPEG, PIL.Image.MAX_IMAGE_PIXELS, which is the program's to set.
MAX_PIXELS = 400_000_000

# What parsers raise for a header that is none.
_UNPARSED = SyntaxError | IndexError | TypeError | struct.error

# What shows where an image is transparent: most viewers and printed pages have white there.
GROUND = (255, 255, 255)

_ORIENTATION = 0x0112  # the Exif tag; 1 is upright
# How the pixels of each other orientation are turned upright, as PIL.ImageOps.exif_transpose does.
_TURNS = {2: np.fliplr, 3: lambda pixels: np.rot90(pixels, 2), 4: np.flipud, 5: lambda pixels: pixels.swapaxes(0, 1),
          6: lambda pixels: np.rot90(pixels, -1), 7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1), 8: np.rot90}
# Markers of a JPEG that no content follows.
_NO_SEGMENT = frozenset({0x00, 0x01, *range(0xD0, 0xDA), 0xFF})


class Decoded(NamedTuple):
    """Pixels, perhaps fewer than the file has, and the file's own size."""

    pixels: np.ndarray  # u8[h,w,3], RGB, upright
    height: int         # of the whole image
    width: int


def decode(record: dict) -> np.ndarray:
    """Decodes the image of a record of a source: its pixels, u8[H,W,3], RGB, upright.

    The orientation is that of Exif, or else of XMP, as PIL.ImageOps.exif_transpose reads them. Transparent pixels show
    GROUND. Grey values of more than 8 bits are those of 8, 12 or 16 bits, whichever are the fewest that hold the
    largest; floats are of 0 to 1, or of 0 to 255. An image that is pixels already is returned as it is.
    Raises UserError, naming the path, for a damaged image, and for values that are none of these. A truncated file is
    damaged: decoders that fill the rest with grey would train on it in silence.

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
    Raises as `decode` does, and where the record says another "size", (height, width), than the image has.
    """
    image = record["image"]
    try:
        decoded = Decoded(image, *image.shape[:2]) if isinstance(image, np.ndarray) else _decode(image, wanted)
    except Exception as error:  # Pillow's plugins raise many kinds; all of them mean that this file is no image
        raise UserError(f"cannot read the image {record['path']} ({len(image)} bytes): "
                        f"{_reason(error, image)}") from error
    if record.get("size", decoded[1:]) != decoded[1:]:
        raise UserError(f"cannot read the image {record['path']}: it has {decoded.width} x {decoded.height} pixels, "
                        f"upright, and its boxes are of {record['size'][1]} x {record['size'][0]}")
    return decoded


def from_pillow(image: PIL.Image.Image) -> np.ndarray:
    """The pixels of a Pillow image, u8[H,W,3], RGB, upright, as `decode` would give those of its file.

    Of colours of 16 bits a channel Pillow has kept the upper 8, whatever they hold. Raises as `decode` does, without a
    path.

    Example:
        >>> from_pillow(PIL.Image.new("L", (4, 2), 255)).shape
        (2, 4, 3)
    """
    image.load()
    return _upright(_to_rgb(image), _orientation(image))


def upright_size(image: PIL.Image.Image) -> tuple[int, int]:
    """(height, width) of a Pillow image once it is upright, of which no pixel is read.

    Example:
        >>> upright_size(PIL.Image.new("L", (4, 2)))
        (2, 4)
    """
    return (image.width, image.height) if _orientation(image) in (5, 6, 7, 8) else (image.height, image.width)


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
    if heif.is_heic(image) and not heif.is_available():
        return heif.MISSING
    if isinstance(error, PIL.UnidentifiedImageError | _UNPARSED) or " at 0x" in reason:
        return f"it is no image that can be read (first bytes {image[:8].hex(' ')})" if image else "it is empty"
    return reason


def _decode(image: bytes, wanted) -> Decoded:
    is_jpeg = image[:2] == b"\xff\xd8"
    if is_jpeg and _is_upright(image):
        try:
            return _decode_jpeg(image, wanted)
        except ValueError:
            pass  # other inks, or a warning of libjpeg: Pillow reads the harmless ones and raises for a truncated file
    if heif.is_heic(image):
        heif.register()
    with _opened_jpeg(image) if is_jpeg else PIL.Image.open(io.BytesIO(image)) as opened:
        _check_size(opened.height, opened.width)
        has_16_bits = opened.mode in ("RGB", "RGBA") and ";16" in str(opened.tile[:1])
        opened.load()
        low_bits = _low_bits(image, opened) if has_16_bits else None
        pixels = _upright(_to_rgb(opened if low_bits is None else low_bits), _orientation(opened))
    return Decoded(pixels, *pixels.shape[:2])


def _decode_jpeg(image: bytes, wanted) -> Decoded:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(image)
    _check_size(height, width)
    if colours == "CMYK" and not _is_adobes(image):
        raise ValueError("simplejpeg takes every file of inks for Adobe's")
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
    if not _has_notes(image):
        return True
    with _opened_jpeg(image) as opened:
        return _orientation(opened) not in _TURNS


def _is_adobes(image: bytes) -> bool:
    """Whether a JPEG says so. Adobe stores inks inverted; simplejpeg and Pillow take every file of inks for Adobe's."""
    with _opened_jpeg(image) as opened:
        return "adobe" in opened.info


def _has_notes(image: bytes) -> bool:
    """Whether a JPEG has Exif, or XMP with an orientation, anywhere before its pixels."""
    at, last = 2, len(image) - 4
    while at < last:  # indices alone: this is done for every image of every epoch
        marker = image[at + 1]
        if image[at] != 0xFF or marker in _NO_SEGMENT:  # padding, or junk
            at += 1
            continue
        if marker == 0xDA:  # the pixels begin
            return False
        end = at + 2 + (image[at + 2] << 8) + image[at + 3]
        if marker == 0xE1 and (image.startswith(b"Exif\0\0", at + 4) or
                               image.find(b"tiff:Orientation", at + 4, end) >= 0):
            return True
        at = end
    return False


def _orientation(image: PIL.Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged notes are no damaged image; Pillow's parsers raise many kinds
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    return np.ascontiguousarray(_TURNS[orientation](pixels)) if orientation in _TURNS else pixels


def _to_rgb(image: PIL.Image.Image) -> np.ndarray:
    if image.mode == "F" or image.mode.startswith("I"):  # Pillow would clip these to 8 bits, and show white or black
        values = np.array(image)
        grey = _to_8_bits(values)
        grey[values == image.info.get("transparency", -1)] = GROUND[0]
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        image = PIL.ImageChops.invert(image)  # as in _is_adobes
    if image.has_transparency_data:
        image = _on_ground(image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _on_ground(image: PIL.Image.Image) -> PIL.Image.Image:
    alpha, colours = image.getchannel("A"), image.convert("RGB")
    if alpha.getextrema() == (255, 255):
        return colours
    shown = PIL.Image.new("RGB", image.size, GROUND)
    shown.paste(colours, mask=alpha)
    return shown


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Of values of more bits. `decode` says which are read; raises UserError for others."""
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" and low >= 0 and (high <= 1 or 16 <= high <= 255):
        # In between lie pictures of 0 to 1 that a filter made brighter than white: at 255 they would be black.
        return np.rint(values * 255 if high <= 1 else values).astype(np.uint8)
    if values.dtype.kind != "f" and 0 <= low and high < 65536:
        return (values >> (0 if high < 256 else 4 if high < 4096 else 8)).astype(np.uint8)
    raise UserError(f"its values reach from {low:g} to {high:g}: expected whole numbers of 0 to 65535, or floats of "
                    f"0 to 1 or of 0 to 255")


def _low_bits(image: bytes, opened: PIL.Image.Image) -> PIL.Image.Image | None:
    """An image of 16 bits a channel that hold 12 or 8 bits, of which Pillow has kept the upper 8 alone; else None."""
    if max(high for _, high in opened.getextrema()) >= 16:
        return None
    values = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.shape[2:] != (len(opened.getbands()),):
        return None
    order = cv2.COLOR_BGR2RGB if values.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return PIL.Image.fromarray(cv2.cvtColor(_to_8_bits(values), order))
