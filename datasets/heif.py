"""HEIC photographs, as telephones write them: read where the package pillow-heif is installed."""

import functools
import importlib.util

EXTENSIONS = (".heic", ".heif")
MISSING = "HEIC takes another package: pip install pillow-heif"


def is_available() -> bool:
    """Whether the decoder is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


@functools.cache
def register() -> None:
    """Lets Pillow open HEIC, where the decoder is installed."""
    if is_available():
        import pillow_heif  # of no use to other formats

        pillow_heif.register_heif_opener()


def is_heic(image: bytes) -> bool:
    """Whether the bytes begin as those of a HEIC file do: of its box `ftyp`, one of the brands of HEVC.

    Example:
        >>> is_heic(bytes(4) + b"ftypheic"), is_heic(bytes(4) + b"ftypavif")
        (True, False)
    """
    return image[4:8] == b"ftyp" and image[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1",
                                                     b"msf1")
