"""Changes of the colours of pixels, none of where they are. Every image is u8[H,W,3], RGB, before and after."""

import cv2
import numpy as np

# What AdaFace's low-resolution augmentation picks from, for shrinking and again for enlarging.
_INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


def shift(image: np.ndarray, brightness: float, contrast: float) -> np.ndarray:
    """Adds `brightness`, a share of 255, and stretches the values about their mean by the factor 1 + `contrast`.

    Example:
        >>> shift(np.array([[[100, 100, 100], [200, 200, 200]]], np.uint8), brightness=0.0, contrast=0.5).ravel()
        array([ 75,  75,  75, 225, 225, 225], dtype=uint8)
    """
    values = image.astype(np.float32)
    mean = values.mean()
    return _bytes((values - mean) * (1 + contrast) + mean + 255 * brightness)


def jitter(image: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float,
           order: np.ndarray) -> np.ndarray:
    """Changes the colours as torchvision's ColorJitter does.

    brightness, contrast, saturation: factors; 1 leaves the image as it is. hue: turns of the colour circle. order:
    i[4], the order in which the four are done (0 is brightness, 3 hue).

    Example:
        >>> jitter(np.full((1, 1, 3), 100, np.uint8), 1.5, 1.0, 1.0, 0.0, order=np.arange(4)).tolist()
        [[[150, 150, 150]]]
    """
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
    """Gives every channel the luminance (ITU-R BT.601, as Pillow and torchvision turn colours into grey).

    Example:
        >>> grey(np.array([[[255, 0, 0]]], np.uint8)).tolist()
        [[[76, 76, 76]]]
    """
    return cv2.cvtColor(_grey(image), cv2.COLOR_GRAY2RGB)


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)


def _turn_hue(image: np.ndarray, turns: float) -> np.ndarray:
    hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV_FULL)
    hsv[:, :, 0] += np.uint8(round(turns * 256) % 256)  # wraps around, as hues do
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs with a Gaussian of the deviation `sigma`, in pixels, which is cut off at three deviations.

    Beyond the border the image is mirrored, as torchvision has it.

    Example:
        >>> image = np.zeros((5, 5, 3), np.uint8)
        >>> image[2, 2] = 255
        >>> blur(image, sigma=1.0)[2, :, 0].tolist()
        [11, 25, 40, 25, 11]
    """
    side = 2 * max(round(3 * sigma), 1) + 1
    return cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)


def lower_resolution(image: np.ndarray, share: float, shrink: float, enlarge: float) -> np.ndarray:
    """Shrinks the image to `share` of its side and enlarges it again, as AdaFace's augmentation does.

    shrink, enlarge: in 0..1 (without 1), each picks one of five interpolations. Kim, Jain, Liu: AdaFace, 2022,
    arXiv:2204.00964.

    Example:
        >>> lower_resolution(np.full((8, 8, 3), 7, np.uint8), share=0.5, shrink=0.0, enlarge=0.0).shape
        (8, 8, 3)
    """
    height, width = image.shape[:2]
    small = max(int(share * width), 1), max(int(share * height), 1)
    image = cv2.resize(image, small, interpolation=_INTERPOLATIONS[int(shrink * len(_INTERPOLATIONS))])
    return cv2.resize(image, (width, height), interpolation=_INTERPOLATIONS[int(enlarge * len(_INTERPOLATIONS))])


def erasing_box(height: int, width: int, tries: np.ndarray, area: tuple[float, float],
                ratio: tuple[float, float]) -> tuple[int, int, int, int] | None:
    """Chooses the box that is erased, as torchvision's RandomErasing does.

    Args:
        height, width: pixels of the image.
        tries: f64[N,4], uniform in 0..1: share of the area, logarithm of the aspect (here height / width), top, left.
        area: the smallest and the largest share of the image's area.
        ratio: the smallest and the largest aspect.

    Returns (top, left, height, width) in pixels, smaller than the image on both sides, or None where no try fits.
    Zhong, Zheng, Kang, Li, Yang: Random Erasing Data Augmentation, 2017, arXiv:1708.04896.

    Example:
        >>> erasing_box(20, 20, np.array([[0.5, 0.5, 0.0, 0.5]]), area=(0.0, 0.5), ratio=(0.5, 2.0))
        (0, 5, 10, 10)
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
