"""The similarity map of two pictures as one picture: each in grey, under what its places add to the cosine."""

import io

import matplotlib
import numpy as np
import PIL.Image

_SIDE, _GAP, _SHARE = 288, 12, 0.6
_COLORS = "RdBu_r"  # red adds, blue takes away


def draw(views: tuple[np.ndarray, np.ndarray], maps: tuple[np.ndarray, np.ndarray]) -> bytes:
    """A PNG. views: u8[S,S,3]; maps: f[h,w], as of `attribution.Pair`; both on one scale.

    Example:
        >>> import numpy as np
        >>> from geodesic.experiments.serving import similarity
        >>> similarity.draw((np.zeros((8, 8, 3), np.uint8),) * 2, (np.ones((2, 2)),) * 2)[:4]
        b'\\x89PNG'
    """
    largest = max(float(np.abs(map_).max()) for map_ in maps) or 1.0
    whole = PIL.Image.new("RGB", (2 * _SIDE + _GAP, _SIDE), (255, 255, 255))
    for place, (view, map_) in enumerate(zip(views, maps, strict=True)):
        whole.paste(_over(view, map_, largest), (place * (_SIDE + _GAP), 0))
    buffer = io.BytesIO()
    whole.save(buffer, "PNG")
    return buffer.getvalue()


def _over(view: np.ndarray, map_: np.ndarray, largest: float) -> PIL.Image.Image:
    size = (_SIDE, _SIDE)
    grey = PIL.Image.fromarray(view).convert("L").convert("RGB").resize(size, PIL.Image.Resampling.LANCZOS)
    fine = PIL.Image.fromarray(np.asarray(map_, np.float32)).resize(size, PIL.Image.Resampling.BILINEAR)
    colours = matplotlib.colormaps[_COLORS](0.5 + 0.5 * np.clip(np.asarray(fine) / largest, -1, 1))[..., :3]
    return PIL.Image.blend(grey, PIL.Image.fromarray(np.rint(255 * colours).astype(np.uint8)), _SHARE)
