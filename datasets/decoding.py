"""From a record's bytes to pixels."""

import io

import numpy as np
import PIL.Image
import PIL.ImageOps
import simplejpeg

# Pillow raises by itself past twice this; a photograph of that size in a data set is a mistake or an attack.
PIL.Image.MAX_IMAGE_PIXELS = 200_000_000


def decode(record: dict) -> np.ndarray:
    """u8[H,W,3], RGB, upright (Exif orientation applied). Raises ValueError, naming the path, for a damaged image.

    A truncated file is damaged: decoders that fill the rest with grey would train on it in silence.
    """
    image = record["image"]
    if isinstance(image, np.ndarray):
        return image
    try:
        return _decode(image)
    except Exception as error:  # Pillow's plugins raise many kinds; all of them mean that this file is no image
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"cannot read the image {record['path']} ({len(image)} bytes): {reason}") from error


def _decode(image: bytes) -> np.ndarray:
    if image[:2] == b"\xff\xd8" and b"Exif\0\0" not in image[:4096]:
        try:
            return simplejpeg.decode_jpeg(image, "RGB")
        except ValueError:
            pass  # CMYK, or a warning of libjpeg: Pillow reads the harmless ones and raises for a truncated file
    with PIL.Image.open(io.BytesIO(image)) as opened:
        upright = PIL.ImageOps.exif_transpose(opened)
        return np.array(upright.convert("RGB"))
