"""Chooses what part of an image is seen, and at what size: boxes, faces, decoding at a sufficient scale, resizing.

A box is (top, left, height, width), in pixels of the whole image.
"""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from ..errors import UserError
from . import alignment, decoding, grey

FITS = ("stretch", "center_crop")
TRIES = 10  # random-resized-crop gives up after as many, and takes the centre

# A box, or landmarks, of whose numbers none is larger: of shares of the image's sides, not of pixels.
SHARES = 2.0

Box = tuple[int, int, int, int]


def check_input(options) -> None:
    """Checks an `input` section before a loader's thread meets it. Raises UserError for one that cannot be followed.

    Example:
        >>> import types
        >>> check_input(types.SimpleNamespace(fit="center_crop", resize_size=256, image_size=224))
    """
    if options.fit not in FITS:
        raise UserError(f"input.fit is {' or '.join(FITS)}; got {options.fit!r}")
    if options.resize_size and (options.fit != "center_crop" or options.resize_size < options.image_size):
        raise UserError(f"input.resize_size {options.resize_size} is the short side before a center_crop to "
                        f"{options.image_size} pixels: at least that, and only with input.fit=center_crop")


def fit(image: np.ndarray, size: int, mode: str, short_side: int = 0) -> np.ndarray:
    """Fits an image u8[H,W,3] into size x size pixels.

    Args:
        image: the pixels.
        size: pixels of both sides of the result.
        mode: one of FITS. "stretch" resizes both sides to `size`; "center_crop" resizes the short side to
            `short_side` and takes the centre, as torchvision's Resize and CenterCrop do, rounding included.
        short_side: pixels, of center_crop; 0 is `size`.

    Returns u8[size,size,3].

    Example:
        >>> fit(np.zeros((40, 60, 3), np.uint8), 16, "center_crop", short_side=20).shape
        (16, 16, 3)
    """
    if mode == "stretch":
        return resize(image, size, size)
    height, width = image.shape[:2]
    short, target = min(height, width), short_side or size
    image = resize(image, int(target * height / short), int(target * width / short))
    top, left = (round((side - size) / 2) for side in image.shape[:2])
    return image[top:top + size, left:left + size]


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes an image u8[H,W,3] to u8[height,width,3].

    Each side for itself is averaged over areas (antialiased) where it shrinks, and interpolated where it grows.

    Example:
        >>> resize(np.eye(4, dtype=np.uint8)[:, :, None].repeat(3, axis=2) * 200, 2, 2)[:, :, 0]
        array([[100,   0],
               [  0, 100]], dtype=uint8)
    """
    if (height < image.shape[0]) != (width < image.shape[1]):
        # OpenCV averages only where both sides shrink: first the one that does.
        image = _resize(image, min(height, image.shape[0]), min(width, image.shape[1]))
    return _resize(image, height, width)


@grey.once
def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    shrinks = height < image.shape[0] or width < image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def whole(height: int, width: int) -> Box:
    """Chooses all of an image, for `cut`.

    Example:
        >>> whole(40, 60)
        (0, 0, 40, 60)
    """
    return 0, 0, height, width


def random_resized(height: int, width: int, tries: np.ndarray, place: np.ndarray, area: tuple[float, float],
                   ratio: tuple[float, float]) -> Box:
    """Chooses a random part of an image, as torchvision's RandomResizedCrop does.

    A try is a share of the area, uniform in `area`, and an aspect (width / height), whose logarithm is uniform between
    those of `ratio`. The first try that fits is taken, or else the centre, at the nearest aspect that is allowed.

    Args:
        height, width: pixels of the image.
        tries: f64[TRIES,2], uniform in 0..1: the share and the aspect of each try.
        place: f64[2], uniform in 0..1: where the box lies, from top to bottom and from left to right.
        area: the smallest and the largest share of the image's area.
        ratio: the smallest and the largest aspect.

    Returns the box.

    Example:
        >>> random_resized(100, 200, np.full((TRIES, 2), 0.5), np.array([0.0, 0.5]), area=(0.0, 1.0), ratio=(0.5, 2.0))
        (0, 50, 100, 100)
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for share, aspect in tries.tolist():
        pixels = height * width * (area[0] + share * (area[1] - area[0]))
        aspect = math.exp(low + aspect * (high - low))
        box_width, box_height = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            return (int(place[0] * (height - box_height + 1)), int(place[1] * (width - box_width + 1)),
                    box_height, box_width)
    box_width, box_height = width, height
    if width / height < ratio[0]:
        box_height = round(width / ratio[0])
    elif width / height > ratio[1]:
        box_width = round(height * ratio[1])
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def cut(record: dict, choose: Callable[[int, int], Box], least: tuple[int, int] | None) -> np.ndarray:
    """Decodes the part of a record's image that is to be seen.

    Args:
        record: of a source. Where it has "landmarks", its image is the face that alignment.align makes of it; or else,
            where it has a "box", nothing outside of that is seen.
        choose: (height, width) of the image, or of the record's face or box -> the box in it that is wanted.
        least: (height, width) to which the result will be resized: a larger JPEG is decoded at a lower scale, but never
            below it. None decodes every pixel.

    Returns u8[h,w,3]. Raises UserError, naming the path, for an image that cannot be read, and for a box or landmarks
    outside of it.

    Example:
        >>> record = {"image": np.zeros((40, 60, 3), np.uint8), "path": "black", "box": (10, 0, 30, 40)}
        >>> cut(record, whole, least=None).shape
        (40, 20, 3)
    """

    if "landmarks" in record:
        record = _face(record)

    def chosen(height: int, width: int) -> Box:
        if "box" not in record:
            return choose(height, width)
        left, top, right, bottom = (round(number) for number in _placed(record, "box", height, width))
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if left >= right or top >= bottom:
            raise _nothing(record, "box", height, width)
        inner = choose(bottom - top, right - left)
        return inner[0] + top, inner[1] + left, inner[2], inner[3]

    def wanted(height: int, width: int) -> tuple[int, int]:
        box = chosen(height, width)
        # This is one pixel more than is needed, for what rounding the scaled box may lose.
        return math.ceil(height * (least[0] + 1) / box[2]), math.ceil(width * (least[1] + 1) / box[3])

    pixels, height, width = decoding.decode_to_scale(record, wanted if least else None)
    try:
        top, left, box_height, box_width = chosen(height, width)
    except ValueError as error:
        raise UserError(f"cannot read the image {record['path']}: {error}") from error
    if pixels.shape[:2] != (height, width):
        vertical, horizontal = pixels.shape[0] / height, pixels.shape[1] / width
        bottom, right = round((top + box_height) * vertical), round((left + box_width) * horizontal)
        top, left = round(top * vertical), round(left * horizontal)
        return pixels[top:bottom, left:right]
    return pixels[top:top + box_height, left:left + box_width]


def remarks(record: dict, height: int, width: int) -> list[str]:
    """Says, to be counted, where the box and the landmarks of a record lie in its image of height x width pixels.

    Example:
        >>> remarks({"box": (0.5, 0.5, 1.2, 1.0)}, 40, 60)
        ['box', 'box in shares of the sides', 'box beyond the edge']
    """
    what = "landmarks" if "landmarks" in record else "box"
    if what not in record:
        return []
    numbers = _in_pixels(record[what], height, width)
    x, y = numbers[::2], numbers[1::2]
    found = [what, f"{what} in shares of the sides"] if are_shares(record[what]) else [what]
    if _are_outside(x, y, height, width):
        return [*found, f"{what} outside"]
    return [*found, f"{what} beyond the edge"] if min(*x, *y) < 0 or max(x) > width or max(y) > height else found


def _face(record: dict) -> dict:
    image = decoding.decode(record)
    try:
        points = _placed(record, "landmarks", *image.shape[:2])
        face = alignment.align(image, np.array(points, np.float32).reshape(5, 2))
    except ValueError as error:
        raise UserError(f"cannot read the image {record['path']}: {error}") from error
    return {"image": face, "path": record["path"]}


def _placed(record: dict, what: str, height: int, width: int) -> list[float]:
    numbers = _in_pixels(record[what], height, width)
    if _are_outside(numbers[::2], numbers[1::2], height, width):
        raise _nothing(record, what, height, width)
    return numbers


def _nothing(record: dict, what: str, height: int, width: int) -> UserError:
    return UserError(f"the {what} {record[what]} {'holds' if what == 'box' else 'hold'} nothing of its {width} x "
                     f"{height} pixels")


def _in_pixels(numbers: Sequence[float], height: int, width: int) -> list[float]:
    if not are_shares(numbers):
        return [*numbers]
    return [number * (height if place % 2 else width) for place, number in enumerate(numbers)]


def are_shares(numbers: Sequence[float]) -> bool:
    """Whether a box or landmarks are in shares of the image's sides.

    Example:
        >>> are_shares((0.1, 0.2, 0.9, 1.0)), are_shares((10, 20, 90, 100))
        (True, False)
    """
    return max(map(abs, numbers)) <= SHARES


def _are_outside(x: list[float], y: list[float], height: int, width: int) -> bool:
    return max(x) <= 0 or max(y) <= 0 or min(x) >= width or min(y) >= height
