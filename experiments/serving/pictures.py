"""Pictures that come over the network, and those of rows that go out: what is read, and what is refused."""

import io
import json
import os

import numpy as np
import PIL.Image

from geodesic import datasets
from geodesic.datasets import heif, transforms
from geodesic.errors import UserError
from geodesic.experiments.galleries import pictures as of_rows
from geodesic.experiments.process import storage
from geodesic.experiments.serving.refusal import Refused

# Format, as Pillow has it -> extension of a file. Pillow reads many more, some of them by other programs.
FORMATS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "AVIF": "avif", "BMP": "bmp",
           "PPM": "ppm", "TIFF": "tif", "HEIF": "heic"}
_SCANS = 100  # of a JPEG: each takes the time of a whole picture
NAME = "the picture"


def check(content: bytes, most_pixels: int) -> str:
    """The extension of its format, of which the header alone is read.

    Raises Refused for what is no picture, of another format, or of too many pixels.
    """
    if not content:
        raise Refused(422, f"{NAME} is empty")
    if heif.is_heic(content):
        if not heif.is_available():
            raise Refused(415, f"{NAME} is HEIC, which this server does not read: send a JPEG")
        heif.register()
    try:
        with PIL.Image.open(io.BytesIO(content)) as opened:
            kind, (width, height) = opened.format, opened.size
    except PIL.Image.DecompressionBombError:
        raise Refused(413, f"{NAME} has too many pixels: expected {most_pixels:,} at most") from None
    except Exception:  # Pillow's plugins raise many kinds; all of them mean that this is no picture
        raise Refused(422, f"{NAME} cannot be read: its {len(content):,} bytes are of no picture (first bytes "
                           f"{content[:8].hex(' ')})") from None
    if kind not in FORMATS:
        raise Refused(415, f"{NAME} is of the format {kind}: expected one of {', '.join(FORMATS)}")
    if width * height > most_pixels:
        raise Refused(413, f"{NAME} has {width} x {height} pixels: expected {most_pixels:,} at most")
    if kind in ("JPEG", "MPO") and content.count(b"\xff\xda") > _SCANS:
        raise Refused(422, f"{NAME} is a JPEG of more than {_SCANS} scans")
    return FORMATS[kind]


def view(content: bytes, input) -> np.ndarray:
    """u8[S,S,3], as the network sees it. input: that section. Raises Refused for what cannot be read."""
    try:
        return transforms.eval_view({"image": content, "label": 0, "path": NAME}, input)
    except UserError as error:
        raise Refused(422, str(error).replace("the image the picture", "the picture")) from error


def of_row(row: dict, folders: list[str]) -> bytes:
    """The bytes of a row's picture, those that were added and nothing else: its digest says so.

    row: as the gallery stores it. folders: the only ones that are read, links followed; [] reads wherever rows say.
    Raises Refused where there is no such picture.
    """
    path = of_rows.unescaped(row["path"])
    if not path:
        raise Refused(404, "the row has no picture")
    if folders and not any(of_rows.below(resolved(path), folder) for folder in folders):
        raise Refused(404, "the row's picture lies in none of the folders that are served (--pictures)")
    try:
        content = storage.read(path) if storage.is_file(path) else None  # a pipe could be read for ever
    except (OSError, ValueError):
        content = None
    if content is None:
        raise Refused(404, "the row's picture has gone")
    part = json.loads(row["metadata"])
    record = {"image": content, "path": path} | {
        name: tuple(part[name]) for name in ("box", "landmarks") if isinstance(part.get(name), list)}
    if of_rows.digest(record) != row["digest"]:
        raise Refused(404, "the row's picture has changed since it was added")
    return content


def resolved(path: str) -> str:
    """Where a file or folder really lies."""
    return storage.absolute(path) if storage.is_remote(path) else os.path.realpath(path)


def thumbnail(content: bytes, side: int) -> bytes:
    """A JPEG of side x side pixels at most. Raises Refused for what cannot be read."""
    try:
        image = PIL.Image.fromarray(datasets.decode({"image": content, "path": NAME}))
    except UserError as error:
        raise Refused(404, "the row's picture cannot be read") from error
    image.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
