"""One small picture in the forms in which files have been misread, each with the pixels it shows or why it is none.

    python -m tests.datasets.odd_pictures FOLDER      writes them
"""

import gzip
import io
import pathlib
import struct
import sys
import zlib

import cv2
import numpy as np
import PIL.Image
import PIL.ImageFilter

from tests.datasets import images

PICTURE = images.pixels(5, 24, 20)
GREY = np.array(PIL.Image.fromarray(PICTURE).convert("L"))
TURNED = np.rot90(PICTURE)  # as a camera stores it that says 6: to be turned by 90 degrees
NO_IMAGE = "it is no image that can be read"

_XMP = ('<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{}</rdf:RDF></x:xmpmeta>')
XMP_ATTRIBUTE = _XMP.format(' tiff:Orientation="6"/>').encode()
XMP_ELEMENT = _XMP.format("><tiff:Orientation>6</tiff:Orientation></rdf:Description>").encode()


def pictures() -> dict[str, tuple[bytes, np.ndarray | str]]:
    """Name of a file -> its content, and u8[H,W,3] of what it shows, or what is said of it."""
    return _oriented() | _transparent() | _deep() | _inks() | _no_images()


def exif(orientation: int) -> bytes:
    notes = PIL.Image.Exif()
    notes[0x0112] = orientation
    return notes.tobytes()


def segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    """The JPEG with one more segment, before all others."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg[2:]


def _oriented() -> dict:
    jpeg = images.encoded(TURNED, quality=95)
    noted = images.encoded(TURNED, quality=95, exif=exif(6))
    xmp = b"http://ns.adobe.com/xap/1.0/\0"
    tagged = struct.pack("<4sIHHHIII", b"II*\0", 8, 1, 0x0112, 2, 255, 255, 0)  # a text, which is not there
    png = images.encoded(TURNED, "PNG")
    end = png.index(b"IEND") - 4
    found = {
        "exif.jpg": noted,
        "exif_after_9_kb_of_photoshop.jpg": segment(noted, 0xED, b"Photoshop 3.0\0" + bytes(9000)),
        "exif_after_a_profile.jpg": segment(noted, 0xE2, b"ICC_PROFILE\0\1\1" + bytes(6000)),
        "exif_after_60_kb_and_a_comment.jpg": segment(segment(noted, 0xFE, b"\xff\xda" * 99), 0xED, bytes(60000)),
        "exif_after_padding.jpg": noted[:2] + b"\xff" * 5 + noted[2:],
        "xmp.jpg": segment(jpeg, 0xE1, xmp + XMP_ATTRIBUTE),
        "xmp_element.jpg": segment(jpeg, 0xE1, xmp + XMP_ELEMENT),
        "xmp_after_exif_without.jpg": segment(segment(jpeg, 0xE1, xmp + XMP_ELEMENT), 0xE1, b"Exif\0\0"),
        "exif.png": images.encoded(TURNED, "PNG", exif=exif(6)),
        "exif_at_the_end.png": png[:end] + _chunk(b"eXIf", exif(6)[6:]) + png[end:],
        "xmp.png": png[:33] + _chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP_ATTRIBUTE) + png[33:],
        "exif.webp": images.encoded(TURNED, "WEBP", lossless=True, exif=exif(6)),
        "xmp.webp": images.encoded(TURNED, "WEBP", lossless=True, xmp=XMP_ATTRIBUTE),
        "exif.tif": images.encoded(TURNED, "TIFF", exif=PIL.Image.open(io.BytesIO(noted)).getexif()),
    }
    upright = images.encoded(PICTURE, quality=95)
    straight = {
        "xmp_against_exif.jpg": segment(images.encoded(PICTURE, quality=95, exif=exif(1)), 0xE1, xmp + XMP_ATTRIBUTE),
        "exif_damaged.jpg": segment(upright, 0xE1, b"Exif\0\0" + tagged),
        "exif_of_noise.jpg": segment(upright, 0xE1, b"Exif\0\0\x01\x12 garbage"),
        "exif_of_9.jpg": images.encoded(PICTURE, quality=95, exif=exif(9)),
    }
    return {name: (content, PICTURE) for name, content in (found | straight).items()}


def _transparent() -> dict:
    """A cut-out over white, whatever lies below what is cut away."""
    alpha = np.zeros(GREY.shape, np.uint8)
    alpha[4:20, 3:17], alpha[10] = 255, 51  # a fifth
    mixed = lambda image: np.rint(255 + (image - 255.0) * alpha[:, :, None] / 255).astype(np.uint8)
    grey = np.repeat(GREY[:, :, None], 3, axis=2)
    found = {}
    below = {"noise": np.random.default_rng(0).integers(0, 256, PICTURE.shape, np.uint8), "black": 0, "white": 255}
    for name, hidden in below.items():
        cut = np.dstack([np.where(alpha[:, :, None] > 0, PICTURE, hidden), alpha]).astype(np.uint8)
        for kind, options in (("png", {}), ("webp", {"lossless": True, "exact": True}), ("tif", {})):
            content = images.encoded(cut, {"tif": "TIFF"}.get(kind, kind.upper()), **options)
            found[f"cut_out_{name}_below.{kind}"] = content, mixed(PICTURE)
    found["cut_out_grey.png"] = images.encoded(np.dstack([GREY, alpha]), "PNG"), mixed(grey)
    found["opaque.png"] = images.encoded(np.dstack([PICTURE, np.full_like(GREY, 255)]), "PNG"), PICTURE
    found["turned_cut_out.png"] = (images.encoded(np.rot90(np.dstack([PICTURE, alpha])), "PNG", exif=exif(6)),
                                   mixed(PICTURE))
    # One colour is transparent, in each kind of pixel that can say so.
    keyed = {"grey_key.png": (GREY, int(GREY[0, 0])), "colour_key.png": (PICTURE, tuple(map(int, PICTURE[0, 0]))),
             "grey_key_16_bits.png": (GREY.astype(np.uint16) * 257, int(GREY[0, 0]) * 257)}
    for name, (image, key) in keyed.items():
        shown = grey if image.ndim == 2 else PICTURE
        hidden = (shown == shown[0, 0]).all(axis=2, keepdims=True)
        found[name] = images.encoded(image, "PNG", transparency=key), np.where(hidden, 255, shown).astype(np.uint8)
    palette = PIL.Image.fromarray(PICTURE).quantize(16)
    indices, colours = np.array(palette), np.array(palette.convert("RGB"))
    hidden = indices[:, :, None] == indices[0, 0]
    for kind, options in (("PNG", {"transparency": int(indices[0, 0])}), ("GIF", {"transparency": int(indices[0, 0])}),
                          ("PNG", {"transparency": bytes(255 * (place != indices[0, 0]) for place in range(16))})):
        buffer = io.BytesIO()
        palette.save(buffer, kind, **options)
        name = f"palette_{type(options['transparency']).__name__}.{kind.lower()}"
        found[name] = buffer.getvalue(), np.where(hidden, 255, colours).astype(np.uint8)
    return found


def _deep() -> dict:
    """Of more than 8 bits."""
    shown = np.repeat(GREY[:, :, None], 3, axis=2)
    wide, negative, broken = GREY / np.float32(255), GREY / np.float32(255) - 1, GREY / np.float32(255)
    broken[3, 3] = np.nan
    grey = {
        "16_bits.png": GREY.astype(np.uint16) << 8 | 77, "12_bits_of_16.png": GREY.astype(np.uint16) << 4 | 7,
        "8_bits_of_16.png": GREY.astype(np.uint16), "16_bits.tif": GREY.astype(np.uint16) << 8 | 77,
        "12_bits_of_16.tif": GREY.astype(np.uint16) << 4 | 7, "16_bits.pgm": GREY.astype(np.uint16) << 8 | 77,
        "8_bits_of_32.tif": GREY.astype(np.int32), "12_bits_of_32.tif": GREY.astype(np.int32) << 4,
        "16_bits_of_32.tif": GREY.astype(np.int32) << 8, "floats_to_1.tif": wide,
        "floats_to_255.tif": GREY + np.float32(0.25),
    }
    found = {name: (_saved(name, image), shown) for name, image in grey.items()}
    refused = {
        "32_bits.tif": (GREY.astype(np.int32) << 20, "its values reach from "),
        "negative.tif": (GREY.astype(np.int32) - 200, "its values reach from -"),
        "floats_below_0.tif": (negative, "its values reach from -"), "floats_not_a_number.tif": (broken, "from nan to"),
        "floats_to_infinity.tif": (np.where(GREY == GREY[0, 0], np.float32(np.inf), wide), "to inf: expected"),
        "floats_to_1.5.tif": (wide * np.float32(1.5), "expected whole numbers of 0 to 65535, or floats of 0 to 1 or"),
        "floats_to_65535.tif": (wide * np.float32(65535), "expected whole numbers of 0 to 65535, or floats of"),
    }
    found |= {name: (_saved(name, image), why) for name, (image, why) in refused.items()}
    for kind in (".png", ".tif"):
        for bits in (8, 12, 16):
            deep = PICTURE.astype(np.uint16) << (bits - 8)
            opaque = np.dstack([deep, np.full_like(GREY, 255).astype(np.uint16) << (bits - 8) | 2 ** (bits - 8) - 1])
            for name, image in (("colours", deep), ("opaque_colours", opaque)):
                order = cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
                content = cv2.imencode(kind, cv2.cvtColor(image, order))[1].tobytes()
                found[f"{name}_of_{bits}_bits{kind}"] = content, PICTURE
    turned = cv2.imencode(".png", np.rot90(PICTURE.astype(np.uint16) << 4)[:, :, ::-1].copy())[1].tobytes()
    found["turned_colours_of_12_bits.png"] = turned[:33] + _chunk(b"eXIf", exif(6)[6:]) + turned[33:], PICTURE
    return found


def _inks() -> dict:
    inks = PIL.Image.fromarray(PICTURE).convert("CMYK")
    buffers = io.BytesIO(), io.BytesIO()
    inks.save(buffers[0], "JPEG", quality=95)  # inverted, and with Adobe's segment, as Adobe does
    PIL.Image.eval(inks, lambda value: 255 - value).save(buffers[1], "JPEG", quality=95)
    plain = buffers[1].getvalue()
    at = plain.index(b"\xff\xee")
    plain = plain[:at] + plain[at + 2 + int.from_bytes(plain[at + 2:at + 4]):]
    tiff = io.BytesIO()
    inks.save(tiff, "TIFF")
    return {"inks_of_adobe.jpg": (buffers[0].getvalue(), PICTURE), "inks.jpg": (plain, PICTURE),
            "inks.tif": (tiff.getvalue(), PICTURE)}


def _no_images() -> dict:
    jpeg, png = images.encoded(PICTURE), images.encoded(PICTURE, "PNG")
    return {name: (content, NO_IMAGE) for name, content in {
        "page.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "zeros.jpg": bytes(5000),
        "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "._note.jpg": b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(60), "packed.jpg": gzip.compress(jpeg),
        "beginning.jpg": jpeg[:4],
    }.items()} | {"empty.jpg": (b"", "it is empty"), "beginning.png": (png[:20], "Truncated File Read"),
                  "cut_off.png": (png[:len(png) // 2], "truncated"), "cut_off.jpg": (jpeg[:-9], "truncated")}


def _saved(name: str, image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, {".png": "PNG", ".tif": "TIFF", ".pgm": "PPM"}[name[-4:]])
    return buffer.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


if __name__ == "__main__":
    for file, (data, _) in pictures().items():
        pathlib.Path(sys.argv[1], file).write_bytes(data)
