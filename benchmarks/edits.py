"""Thirteen edits that people make of a photograph, each drawn by a seed: what `benchmarks/duplicates.py` looks for."""

import cv2
import numpy as np

_WORDS = ("SALE", "best price", "today only", "#market", "look at this", "NEW", "5.99", "fresh!")


def make(kind: str, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An edited copy u8[h,w,3] of a photograph u8[H,W,3]."""
    return np.ascontiguousarray(EDITS[kind](image, rng))


def crop(image, rng):
    """70 to 90 % of each side."""
    height, width = image.shape[:2]
    tall, wide = (max(int(side * rng.uniform(0.7, 0.9)), 1) for side in (height, width))
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    return image[top:top + tall, left:left + wide]


def jpeg30(image, rng):
    """Compressed at quality 30."""
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)


def flip(image, rng):
    """Mirrored."""
    return image[:, ::-1]


def blur(image, rng):
    """A Gaussian of .5 to 1 % of the shorter side."""
    return cv2.GaussianBlur(image, (0, 0), min(image.shape[:2]) * rng.uniform(0.005, 0.01))


def border(image, rng):
    """A frame of one colour, 5 to 12 % of the shorter side."""
    wide = int(min(image.shape[:2]) * rng.uniform(0.05, 0.12))
    return cv2.copyMakeBorder(image, *[wide] * 4, cv2.BORDER_CONSTANT, value=rng.integers(0, 256, 3).tolist())


def text(image, rng):
    """Two lines of text."""
    drawn, scale = image.copy(), min(image.shape[:2]) / 256
    for _ in range(2):
        place = int(rng.uniform(0.02, 0.4) * image.shape[1]), int(rng.uniform(0.15, 0.95) * image.shape[0])
        cv2.putText(drawn, str(rng.choice(_WORDS)), place, cv2.FONT_HERSHEY_SIMPLEX, scale * rng.uniform(0.9, 1.5),
                    rng.integers(0, 256, 3).tolist(), max(round(3 * scale), 1), cv2.LINE_AA)
    return drawn


def grey(image, rng):
    """Without colour."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def rotation(image, rng):
    """Turned by 3 to 12 degrees to either side, black in the corners."""
    height, width = image.shape[:2]
    degrees = rng.uniform(3, 12) * rng.choice((-1, 1))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)


def colours(image, rng):
    """Another brightness, contrast, saturation and hue."""
    changed = image.astype(np.float32)
    changed = (changed - 128) * rng.uniform(0.7, 1.3) + 128 + rng.uniform(-35, 35)
    hsv = cv2.cvtColor(np.clip(changed, 0, 255).astype(np.uint8), cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-12, 12)) % 180
    hsv[..., 1] *= rng.uniform(0.5, 1.5)
    return cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB)


def resize(image, rng):
    """40 to 70 % of the size, and up to a tenth narrower or wider."""
    height, width = image.shape[:2]
    scale = rng.uniform(0.4, 0.7)
    return cv2.resize(image, (max(int(width * scale * rng.uniform(0.9, 1.1)), 1), max(int(height * scale), 1)),
                      interpolation=cv2.INTER_AREA)


def noise(image, rng):
    """Gaussian noise of 12 to 25 grey levels."""
    noisy = image + rng.uniform(12, 25) * rng.standard_normal(image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def screenshot(image, rng):
    """Within the window of a program: a bar above, one below, a margin around."""
    height, width = image.shape[:2]
    top, below, side = (int(height * rng.uniform(*ends)) for ends in ((0.08, 0.15), (0.04, 0.1), (0.02, 0.08)))
    window = np.full((height + top + below, width + 2 * side, 3), int(rng.choice((32, 245))), np.uint8)
    window[:top] = rng.integers(40, 220, 3)
    for place in range(3):
        cv2.circle(window, (side + 6 + place * max(top // 2, 4), top // 2), max(top // 6, 2),
                   rng.integers(0, 256, 3).tolist(), -1)
    cv2.putText(window, "photos", (window.shape[1] // 2, int(top * 0.7)), cv2.FONT_HERSHEY_SIMPLEX, top / 40,
                (255, 255, 255), 1, cv2.LINE_AA)
    window[top:top + height, side:side + width] = image
    return window


def watermark(image, rng):
    """Pale text again and again, aslant."""
    height, width = image.shape[:2]
    layer, word = np.zeros_like(image), f"(c) {rng.choice(_WORDS)}"
    step = max(min(height, width) // 4, 8)
    for row, top in enumerate(range(step // 2, height + step, step)):
        cv2.putText(layer, " ".join([word] * 4), (-(row % 3) * step // 2, top), cv2.FONT_HERSHEY_SIMPLEX,
                    min(height, width) / 350, (255, 255, 255), 1, cv2.LINE_AA)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 20, 1.2)
    layer = cv2.warpAffine(layer, matrix, (width, height)).astype(np.float32) / 255 * rng.uniform(0.4, 0.7)
    return np.rint(image * (1 - layer) + 255 * layer).astype(np.uint8)


EDITS = {function.__name__: function for function in (
    crop, jpeg30, flip, blur, border, text, grey, rotation, colours, resize, noise, screenshot, watermark)}
