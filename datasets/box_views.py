"""What a detector sees of a picture with boxes: u8[H,W,3] and its boxes in pixels of that. The device normalises.

Every view is one scale, one shift and perhaps mirrors of the whole picture or of a crop of it, sampled once, so that
boxes are where their pixels are. options is the section `box_augment` of a configuration, detection and inputs the
sections `detection` and `input`, or objects with their attributes.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ..errors import UserError
from . import crops, decoding, photometry, transforms

_CENTRE = (0.25, 0.75)  # where the four pictures of a mosaic meet, in shares of the sides


class Seen(NamedTuple):
    """A view of a picture.

    Attributes:
        image: u8[H,W,3].
        boxes: f32[n,4], x1, y1, x2, y2 in pixels of the image; no crowds.
        classes: i32[n].
    """

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray


class Letterboxed(NamedTuple):
    """A whole picture in the network's input.

    Attributes:
        image: u8[H,W,3].
        scale: f32, pixels of the input for one of the picture.
        offset: f32[2], x and y of the picture's corner in the input.
        size: i32[2], height and width of the picture.
    """

    image: np.ndarray
    scale: np.float32
    offset: np.ndarray
    size: np.ndarray


class Draws:
    """The random numbers of a view, drawn at once, used or not: one option does not change the draws of another.

    New ones go to the end, so that older recipes keep their views.
    """

    def __init__(self, rng: np.random.Generator):
        values = rng.random(13)
        self.centre = values[:2]
        self.jitter_amounts, self.jitter_order = values[2:6], values[6:10]
        self.grey, self.blur, self.blur_sigma = values[10:]
        self.pictures = [_PictureDraws(rng) for _ in range(4)]


class _PictureDraws:
    def __init__(self, rng: np.random.Generator):
        values = rng.random(27)
        self.flip, self.scale, self.place = values[0], values[1], values[2:4]
        self.vertical_flip = transforms.low_bits(self.flip)
        self.crop, self.crop_place, self.crop_tries = values[4], values[5:7], values[7:].reshape(crops.TRIES, 2)


def check_options(detection, options) -> None:
    """Checks the sizes of `detection` and the fields of `box_augment`. Raises UserError for what cannot be followed.

    Example:
        >>> from geodesic.configs import default
        >>> config = default.get_config()
        >>> check_options(config.detection, config.box_augment)
    """
    for name in ("height", "width", "max_boxes"):
        if getattr(detection, name) < 1:
            raise UserError(f"detection.{name} is at least 1; got {getattr(detection, name)}")
    if detection.kept_views < 0:
        raise UserError(f"detection.kept_views is how many views of each picture come round again, 0 for new ones in "
                        f"each epoch; got {detection.kept_views}")
    for name in ("horizontal_flip", "vertical_flip", "crop", "mosaic", "grayscale", "blur"):
        if not 0 <= getattr(options, name) <= 1:
            raise UserError(f"box_augment.{name} is a probability, 0 to 1; got {getattr(options, name):g}")
    for name, most in (("scale", math.inf), ("crop_area", 1), ("crop_ratio", math.inf), ("blur_sigma", math.inf)):
        low, high = getattr(options, name)
        if not 0 < low <= high <= most:
            raise UserError(f"box_augment.{name} is a range from low to high, above 0"
                            + (f" and at most {most}" if most < math.inf else "") + f"; got {low:g} to {high:g}")
    if len(options.color_jitter) != 4 or min(options.color_jitter) < 0 or options.color_jitter[3] > 0.5:
        raise UserError(f"box_augment.color_jitter is brightness, contrast, saturation and hue, none negative and hue "
                        f"at most 0.5; got {tuple(options.color_jitter)}")
    if not options.smallest_side >= 0:
        raise UserError(f"box_augment.smallest_side is in pixels, not negative; got {options.smallest_side:g}")


def letterbox(height: int, width: int, into: tuple[int, int]) -> tuple[np.float32, np.ndarray]:
    """(scale, offset x and y) that bring a picture of height x width whole into the middle of `into`, height and width.

    The offset is of whole pixels: a picture of the network's own size stays as it is, pixel by pixel.

    Example:
        >>> letterbox(480, 640, (320, 320))
        (np.float32(0.5), array([ 0., 40.], dtype=float32))
    """
    scale = min(into[0] / height, into[1] / width)
    return np.float32(scale), np.float32([_half(into[1] - scale * width), _half(into[0] - scale * height)])


def _half(room: float) -> int:
    """Half of what is free, in whole pixels, whatever the last digits of a product are."""
    return math.floor(room / 2 + 1e-6)


def to_picture(boxes: np.ndarray, scale: float, offset: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Boxes f[n,4] of the network's input in pixels of the picture, f32[n,4], cut at its edges.

    scale, offset, size: of a `Letterboxed`.

    Example:
        >>> scale, offset = letterbox(480, 640, (320, 320))
        >>> to_picture([[5, 50, 55, 150]], scale, offset, (480, 640)).tolist()
        [[10.0, 20.0, 110.0, 220.0]]
    """
    found = (np.asarray(boxes, np.float64) - np.tile(np.asarray(offset, np.float64), 2)) / float(scale)
    return np.clip(found, 0, np.tile(np.asarray(size)[::-1], 2)).astype(np.float32)


def eval_view(record: dict, inputs, detection) -> Letterboxed:
    """The whole picture of a record, letterboxed. Raises UserError, naming the path, for one that cannot be read.

    Example:
        >>> from geodesic.configs import default
        >>> config = default.get_config()
        >>> config.detection.height = config.detection.width = 64
        >>> eval_view({"image": np.zeros((40, 80, 3), np.uint8), "path": "black"}, config.input, config.detection)[1:]
        (np.float32(0.8), array([ 0., 16.], dtype=float32), array([40, 80], dtype=int32))
    """
    into = detection.height, detection.width
    pixels, height, width = _decoded(record, inputs, lambda height, width: letterbox(height, width, into)[0])
    scale, offset = letterbox(height, width, into)
    image = _sampled(pixels, (height, width), (float(scale), float(scale)), offset, into, border(inputs),
                     (*offset, *(offset + scale * np.float32([width, height]))))
    return Letterboxed(image, scale, offset, np.int32([height, width]))


def picture_view(record: dict, draws: Draws, which: int, inputs, detection, options,
                 into: tuple[int, int] | None = None, corner: tuple[int, int] | None = None) -> Seen:
    """A random view of one picture: a crop of it, its scale, its place and its mirror images. Colours stay.

    A box whose middle is outside of the crop, or of the view, is left out; the others are cut at the edges.

    Args:
        record: of a source with boxes.
        draws: of the view.
        which: 0, or the number of the picture in a mosaic, to 3.
        inputs, detection, options: the sections.
        into: height and width of the view; None for those of the network's input, to which the scale belongs.
        corner: x and y, 0 for left and top, 1 for right and bottom: the corner of the view in which the picture's own
            corner lies. None: letterboxed into the middle, or, where the scale is drawn, anywhere.

    Raises as `eval_view` does.
    """
    own, whole = draws.pictures[which], (detection.height, detection.width)
    factor = math.exp(transforms.within([math.log(bound) for bound in options.scale], own.scale))

    def window(height: int, width: int) -> crops.Box:
        if own.crop >= options.crop:
            return crops.whole(height, width)
        return crops.random_resized(height, width, own.crop_tries, own.crop_place, options.crop_area,
                                    options.crop_ratio)

    def scale_of(height: int, width: int) -> float:
        return float(letterbox(*window(height, width)[2:], whole)[0]) * factor

    pixels, height, width = _decoded(record, inputs, scale_of)
    scale, (top, left, crop_height, crop_width) = scale_of(height, width), window(height, width)
    into = into or whole
    free = into[1] - scale * crop_width, into[0] - scale * crop_height  # negative where the picture is the larger one
    if corner is None and factor == 1:
        x, y = letterbox(crop_height, crop_width, into)[1].tolist()
    else:
        x, y = (share * room for share, room in zip(own.place if corner is None else corner, free, strict=True))
    shown = (x, y, x + scale * crop_width, y + scale * crop_height)
    flips = np.array([own.flip < options.horizontal_flip, own.vertical_flip < options.vertical_flip])
    scales = np.where(flips, -scale, scale)
    shift = np.where(flips, [x + scale * (left + crop_width), y + scale * (top + crop_height)],
                     [x - scale * left, y - scale * top])
    learnt = ~record["crowd"]
    boxes, classes = np.clip(record["boxes"][learnt], 0, [width, height] * 2), record["classes"][learnt]
    boxes = boxes * np.tile(scales, 2) + np.tile(shift, 2)
    boxes = np.sort(boxes.reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    boxes, classes = _cut(*_cut(boxes, classes, shown), (0, 0, into[1], into[0]))
    large = (boxes[:, 2:] - boxes[:, :2] >= options.smallest_side).all(axis=1)
    image = _sampled(pixels, (height, width), scales, shift, into, border(inputs), shown)
    return Seen(image, boxes[large].astype(np.float32), classes[large])


def mosaic_tiles(draws: Draws, detection) -> list[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]:
    """((x, y) in the mosaic, (height, width), the corner of the picture in it) of the four parts of a mosaic."""
    x, y = (round(side * transforms.within(_CENTRE, share)) for side, share in
            zip((detection.width, detection.height), draws.centre, strict=True))
    return [((x * across, y * down), (detection.height - y if down else y, detection.width - x if across else x),
             (1 - across, 1 - down)) for down in (0, 1) for across in (0, 1)]


def mosaic(tiles: list[Seen], draws: Draws, detection) -> Seen:
    """Puts four views together, of the sizes of `mosaic_tiles`.

    Each picture keeps the size it has alone, and is cut at the borders of its part. Bochkovskiy, Wang, Liao: YOLOv4,
    2020, arXiv:2004.10934.
    """
    image = np.empty((detection.height, detection.width, 3), np.uint8)
    boxes = []
    for ((x, y), (height, width), _), tile in zip(mosaic_tiles(draws, detection), tiles, strict=True):
        image[y:y + height, x:x + width] = tile.image
        boxes.append(tile.boxes + np.float32([x, y, x, y]))
    return Seen(image, np.concatenate(boxes), np.concatenate([tile.classes for tile in tiles]))


def colours(image: np.ndarray, draws: Draws, options) -> np.ndarray:
    """Changes the colours of a view, and blurs it."""
    if any(options.color_jitter):
        image = transforms.jitter(image, draws, options)
    if draws.grey < options.grayscale:
        image = photometry.grey(image)
    if draws.blur < options.blur:
        image = photometry.blur(image, transforms.within(options.blur_sigma, draws.blur_sigma))
    return np.ascontiguousarray(image)


def _decoded(record: dict, inputs, scale_of: Callable[[int, int], float]) -> decoding.Decoded:
    """The pixels of a record, perhaps fewer than it has, but no fewer than are seen at a scale."""

    def wanted(height: int, width: int) -> tuple[int, int]:
        scale = scale_of(height, width)
        return math.ceil(height * scale), math.ceil(width * scale)

    return decoding.decode_to_scale(record, wanted if inputs.decode_to_scale else None)


def _cut(boxes: np.ndarray, classes: np.ndarray, region: tuple) -> tuple[np.ndarray, np.ndarray]:
    """The boxes whose middle is in a region x1, y1, x2, y2, cut at its edges, and their classes."""
    low, high = np.array(region[:2]), np.array(region[2:])
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    cut = np.clip(boxes, np.tile(low, 2), np.tile(high, 2))
    kept = ((middle >= low) & (middle < high)).all(axis=1) & (cut[:, :2] < cut[:, 2:]).all(axis=1)
    return cut[kept], classes[kept]


def border(inputs) -> tuple[int, ...]:
    """What shows where there is no picture: zero, once normalised."""
    return tuple(int(np.clip(round(value), 0, 255)) for value in inputs.mean)


def _sampled(pixels: np.ndarray, size: tuple[int, int], scales: Sequence[float], shift: np.ndarray,
             into: tuple[int, int], fill: tuple[int, ...], shown: tuple[float, ...]) -> np.ndarray:
    """A picture where scale * place + shift puts it, u8[into], in the region `shown` of x1, y1, x2, y2.

    pixels: of a picture of `size`, height and width, perhaps fewer of them.
    """
    image = np.empty((*into, 3), np.uint8)
    image[:] = fill
    left, top, right, bottom = (min(max(round(float(edge)), 0), into[1 - place % 2]) for place, edge in
                                enumerate(shown))
    if left >= right or top >= bottom:
        return image
    # Where it shrinks to less than a half, whole areas are averaged first, for bilinear samples would miss pixels.
    halves = [max(int(pixels.shape[1 - axis] / (size[1 - axis] * abs(scales[axis]))), 1) for axis in (0, 1)]
    if max(halves) > 1:
        pixels = crops.resize(pixels, *(max(round(pixels.shape[1 - axis] / halves[axis]), 1) for axis in (1, 0)))
    steps = [pixels.shape[1 - axis] / (size[1 - axis] * scales[axis]) for axis in (0, 1)]
    starts = [(0.5 + first - shift[axis]) * steps[axis] - 0.5 for axis, first in enumerate((left, top))]
    image[top:bottom, left:right] = cv2.warpAffine(
        pixels, np.array([[steps[0], 0, starts[0]], [0, steps[1], starts[1]]]), (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    return image
