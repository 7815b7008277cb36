"""Turns a record into what the trunk sees, u8[S,S,3]. Normalisation happens on the device.

inputs and options are the sections `input` and `augment` of a configuration, or objects with their attributes.
"""

import functools
import math

import cv2
import numpy as np

from ..errors import UserError
from . import crops, grey, photometry, policies

ERASING_FILLS = ("mean", "noise")


class Draws:
    """The random numbers of a view, drawn at once, used or not: one option does not change the draws of another.

    New ones go to the end, so that older recipes keep their views.
    """

    def __init__(self, rng: np.random.Generator):
        # These are uniform in -1..1.
        (self.flip, self.angle, self.dx, self.dy, self.zoom, self.brightness, self.contrast) = rng.uniform(-1, 1, 7)
        self.vertical_flip = low_bits(self.flip)
        # The rest are uniform in 0..1. One call draws them all, for the sake of the smallest images.
        values = rng.random(79)
        self.crop_tries, self.crop_place = values[:20].reshape(crops.TRIES, 2), values[20:22]
        self.jitter, self.jitter_amounts, self.jitter_order = values[22], values[23:27], values[27:31]
        self.grey, self.blur, self.blur_sigma = values[31:34]
        self.low_resolution, self.low_resolution_choices = values[34], values[35:38]
        self.erasing, self.erasing_tries = values[38], values[39:].reshape(10, 4)


def check_options(inputs, options) -> None:
    """Checks the fields of `input` and `augment`. Raises UserError for what cannot be followed.

    Example:
        >>> from geodesic.configs import default
        >>> config = default.get_config()
        >>> check_options(config.input, config.augment)
    """
    crops.check_input(inputs)
    if options.erasing_fill not in ERASING_FILLS:
        raise UserError(f"augment.erasing_fill is {' or '.join(ERASING_FILLS)}; got {options.erasing_fill!r}")
    if len(options.color_jitter) != 4 or min(options.color_jitter) < 0 or options.color_jitter[3] > 0.5:
        raise UserError(f"augment.color_jitter is brightness, contrast, saturation and hue, none negative and hue at "
                        f"most 0.5; got {tuple(options.color_jitter)}")
    for name in ("crop_area", "crop_ratio", "blur_sigma", "low_resolution_side", "erasing_area", "erasing_ratio"):
        low, high = getattr(options, name)
        if not 0 < low <= high or (high > 1 and name in ("crop_area", "low_resolution_side", "erasing_area")):
            raise UserError(f"augment.{name} is a range from low to high; got {low:g} to {high:g}")
    _check_amounts(options)


def _check_amounts(options) -> None:
    for name, low, high in (("horizontal_flip", 0, 1), ("vertical_flip", 0, 1), ("shear", 0, 1), ("elastic", 0, 1),
                            ("elastic_points", 2, math.inf),
                            ("rand_augment_ops", 0, math.inf), ("rand_augment_magnitude", 0, policies.MAGNITUDES - 1),
                            ("augmix_severity", 0, policies.SEVERITIES), ("augmix_chains", 1, math.inf),
                            ("augmix_depth", 0, math.inf), ("mixup_alpha", 0, math.inf), ("cutmix_alpha", 0, math.inf),
                            ("mix_probability", 0, 1)):
        value = getattr(options, name)
        if not low <= value <= high:
            raise UserError(f"augment.{name} is {f'{low} to {high}' if high < math.inf else f'at least {low}'}; "
                            f"got {value:g}")
    if not options.augmix_alpha > 0:
        raise UserError(f"augment.augmix_alpha is above 0; got {options.augmix_alpha:g}")


def train_view(record: dict, rng: np.random.Generator, inputs, options) -> np.ndarray:
    """Makes a random view of a record's image, drawn from `rng` alone.

    Returns u8[S,S,3], S = inputs.image_size. Raises UserError, naming the path, for an image that cannot be read.

    Example:
        >>> from geodesic.configs import default
        >>> record = {"image": np.zeros((40, 60, 3), np.uint8), "path": "black"}
        >>> config = default.get_config()
        >>> train_view(record, np.random.default_rng(0), config.input, config.augment).shape
        (112, 112, 3)
    """
    if not options.random_resized_crop:
        return augment(_fitted(record, inputs), rng, options, inputs)
    draws, size = Draws(rng), inputs.image_size

    def choose(height: int, width: int) -> crops.Box:
        return crops.random_resized(height, width, draws.crop_tries, draws.crop_place, options.crop_area,
                                    options.crop_ratio)

    image = crops.cut(record, choose, (size, size) if inputs.decode_to_scale else None)
    return _augment(crops.resize(image, size, size), draws, rng, options, inputs)


def eval_view(record: dict, inputs) -> np.ndarray:
    """Makes the view of a record's image that is evaluated on: the whole of it, fitted. Raises as `train_view` does.

    Example:
        >>> from geodesic.configs import default
        >>> record = {"image": np.zeros((40, 60, 3), np.uint8), "path": "black"}
        >>> eval_view(record, default.get_config().input).shape
        (112, 112, 3)
    """
    return np.ascontiguousarray(_fitted(record, inputs))


def _fitted(record: dict, inputs) -> np.ndarray:
    least = inputs.resize_size or inputs.image_size
    image = crops.cut(record, crops.whole, (least, least) if inputs.decode_to_scale else None)
    return crops.fit(image, inputs.image_size, inputs.fit, inputs.resize_size)


def augment(image: np.ndarray, rng: np.random.Generator, options, inputs) -> np.ndarray:
    """Makes a random view of pixels u8[S,S,3] that have their size already: everything of `augment` but the crop.

    What an affine view uncovers repeats the border.

    Example:
        >>> from geodesic.configs import default
        >>> config = default.get_config()
        >>> config.augment.horizontal_flip = 1.0
        >>> image = np.arange(12, dtype=np.uint8).reshape(1, 4, 3)
        >>> augment(image, np.random.default_rng(0), config.augment, config.input)[0, :, 0].tolist()
        [9, 6, 3, 0]
    """
    return _augment(image, Draws(rng), rng, options, inputs)


def _augment(image: np.ndarray, draws: Draws, rng: np.random.Generator, options, inputs) -> np.ndarray:
    if options.shear or options.elastic:
        image = _distort(image, rng.spawn(1)[0], options)
    if options.rotation or options.translation or options.scaling:
        image = _affine(image, draws.angle * options.rotation, draws.dx * options.translation,
                        draws.dy * options.translation, 2.0 ** (draws.zoom * options.scaling))
    if (draws.flip + 1) / 2 < options.horizontal_flip:
        image = _mirror(image, 1)
    if draws.vertical_flip < options.vertical_flip:
        image = _mirror(image, 0)
    image = np.ascontiguousarray(image)
    if options.rand_augment_ops or options.augmix_severity:
        image = _policies(image, rng, options)
    if options.brightness or options.contrast:
        image = photometry.shift(image, draws.brightness * options.brightness, draws.contrast * options.contrast)
    if any(options.color_jitter) and draws.jitter < options.color_jitter_probability:
        image = jitter(image, draws, options)
    if draws.grey < options.grayscale:
        image = photometry.grey(image)
    if draws.blur < options.blur:
        image = photometry.blur(image, within(options.blur_sigma, draws.blur_sigma))
    if draws.low_resolution < options.low_resolution:
        share, shrink, enlarge = draws.low_resolution_choices
        image = photometry.lower_resolution(image, within(options.low_resolution_side, share), shrink, enlarge)
    image = np.ascontiguousarray(image)
    if draws.erasing < options.erasing:
        image = _erase(image, draws, rng, options, inputs)
    return image


@grey.once
def _distort(image: np.ndarray, rng: np.random.Generator, options) -> np.ndarray:
    """Shears about the centre, and bends as Simard, Steinkraus, Platt (2003) do: every pixel is taken from nearby, by
    offsets that are normal at points of a grid and cubic between them. `rng` is a stream of its own, as of _policies.
    """
    height, width = image.shape[:2]
    across, down = rng.uniform(-1, 1, 2) * options.shear
    # A warp's matrix leads from a place of the view to one of the image, and so do these maps.
    straight = np.array([[1, across, -across * (height - 1) / 2], [down, 1, -down * (width - 1) / 2]])
    if not options.elastic:
        return cv2.warpAffine(image, straight, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                              borderMode=cv2.BORDER_REPLICATE)
    offsets = rng.standard_normal((options.elastic_points, options.elastic_points, 2), np.float32)
    offsets *= np.float32([options.elastic * width, options.elastic * height])
    places = cv2.transform(_places(height, width), straight)
    places += cv2.resize(offsets, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.remap(image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@functools.lru_cache(maxsize=8)
def _places(height: int, width: int) -> np.ndarray:
    """(x, y) of each pixel, f32[H,W,2]."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).astype(np.float32)


def _policies(image: np.ndarray, rng: np.random.Generator, options) -> np.ndarray:
    """RandAugment and AugMix, each with a stream of its own: all that is drawn from `rng` itself stays what it was."""
    for_chain, for_mixture = rng.spawn(2)
    if options.rand_augment_ops:
        image = policies.rand_augment(image, for_chain, options.rand_augment_ops, options.rand_augment_magnitude)
    if options.augmix_severity:
        image = policies.augmix(image, for_mixture, options.augmix_severity, options.augmix_chains,
                                options.augmix_depth, options.augmix_alpha)
    return image


def jitter(image: np.ndarray, draws, options) -> np.ndarray:
    """Changes the colours by draws.jitter_amounts and jitter_order, as far as options.color_jitter says."""
    *factors, hue = (within((max(centre - amount, low), centre + amount), draw) for amount, draw, centre, low in
                     zip(options.color_jitter, draws.jitter_amounts, (1, 1, 1, 0), (0, 0, 0, -0.5), strict=True))
    return photometry.jitter(image, *factors, hue, np.argsort(draws.jitter_order))


def _erase(image: np.ndarray, draws: Draws, rng: np.random.Generator, options, inputs) -> np.ndarray:
    """Erases a box. The fill "mean" is zero once normalised, as torchvision erases; "noise" is normal and of
    deviation 1 then, as timm's `pixel`.
    """
    height, width = image.shape[:2]
    box = photometry.erasing_box(height, width, draws.erasing_tries, options.erasing_area, options.erasing_ratio)
    if box is None:
        return image
    top, left, height, width = box
    fill = np.broadcast_to(np.float32(inputs.mean), (height, width, 3))
    if options.erasing_fill == "noise":
        fill = fill + np.float32(inputs.std) * rng.standard_normal((height, width, 3), np.float32)
    image = image.copy()  # it may be the source's own
    image[top:top + height, left:left + width] = np.clip(np.rint(fill), 0, 255).astype(np.uint8)
    return image


def low_bits(draw: float) -> float:
    """A second number of 0..1 from a draw that decides by its first bits, so that older recipes keep their draws."""
    return draw * 2.0 ** 20 % 1.0


def within(bounds: tuple[float, float], draw: float) -> float:
    """A number between two bounds, by a draw of 0..1."""
    return bounds[0] + draw * (bounds[1] - bounds[0])


@grey.once
def _mirror(image: np.ndarray, code: int) -> np.ndarray:
    return cv2.flip(image, code)  # ten times as fast as copying NumPy's reversed view


@grey.once
def _affine(image: np.ndarray, degrees: float, dx: float, dy: float, zoom: float) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, zoom)
    matrix[:, 2] += dx * width, dy * height
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
