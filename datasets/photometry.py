"""Random changes of what the pixels say, none of where they are. Images u8[H,W,3], RGB, in and out."""

import cv2
import numpy as np

# ITU-R BT.601, as Pillow and torchvision turn colours into grey.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)

# What AdaFace's low-resolution augmentation picks from, for shrinking and again for enlarging.
_INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


def shift(image: np.ndarray, brightness: float, contrast: float) -> np.ndarray:
    """Adds `brightness` (share of 255) and stretches about the mean by 1 + contrast."""
    values = image.astype(np.float32)
    mean = values.mean()
    return _bytes((values - mean) * (1 + contrast) + mean + 255 * brightness)


def jitter(image: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float,
           order: np.ndarray) -> np.ndarray:
    """torchvision's ColorJitter. The first three are factors (1: as it is), hue is in turns; order: of the four."""
    for which in order.tolist():
        if which == 0 and brightness != 1:
            image = cv2.convertScaleAbs(image, alpha=brightness)
        elif which == 1 and contrast != 1:
            # About the mean of the grey image, rounded as torchvision's and Pillow's are.
            mean = float(np.floor(_grey(image).mean() + 0.5))
            image = cv2.LUT(image, _bytes((np.arange(256) - mean) * contrast + mean))
        elif which == 2 and saturation != 1:
            image = cv2.addWeighted(image, saturation, grey(image), 1 - saturation, 0)
        elif which == 3 and hue:
            image = _turn_hue(image, hue)
    return image


def grey(image: np.ndarray) -> np.ndarray:
    """Its luminance, in all three channels."""
    return cv2.cvtColor(_grey(image), cv2.COLOR_GRAY2RGB)


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)


def _turn_hue(image: np.ndarray, turns: float) -> np.ndarray:
    hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV_FULL)
    hsv[:, :, 0] += np.uint8(round(turns * 256) % 256)  # wraps around, as hues do
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian, sigma in pixels, cut off at three of them; the border is mirrored, as torchvision does."""
    side = 2 * max(round(3 * sigma), 1) + 1
    return cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)


def lower_resolution(image: np.ndarray, share: float, shrink: float, enlarge: float) -> np.ndarray:
    """To `share` of its side and back; shrink and enlarge, in 0..1, pick the interpolations.

    Source: Kim, Jain, Liu: AdaFace, 2022, arXiv 2204.00964.
    """
    height, width = image.shape[:2]
    small = max(int(share * width), 1), max(int(share * height), 1)
    image = cv2.resize(image, small, interpolation=_INTERPOLATIONS[int(shrink * len(_INTERPOLATIONS))])
    return cv2.resize(image, (width, height), interpolation=_INTERPOLATIONS[int(enlarge * len(_INTERPOLATIONS))])


def erasing_box(height: int, width: int, tries: np.ndarray, area: tuple[float, float],
                ratio: tuple[float, float]) -> tuple[int, int, int, int] | None:
    """torchvision's RandomErasing: (top, left, height, width), strictly inside, or None where no try fits.

    tries f64[N,4], uniform in 0..1: share of the area, log of the aspect (here height / width), top, left.
    """
    low, high = np.log(ratio[0]), np.log(ratio[1])
    for share, aspect, top, left in tries.tolist():
        pixels = height * width * (area[0] + share * (area[1] - area[0]))
        aspect = float(np.exp(low + aspect * (high - low)))
        box_height, box_width = round((pixels * aspect) ** 0.5), round((pixels / aspect) ** 0.5)
        if 0 < box_height < height and 0 < box_width < width:
            return (int(top * (height - box_height + 1)), int(left * (width - box_width + 1)), box_height, box_width)
    return None


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
