"""Writes alignment.npz: insightface's own norm_crop, of each OpenCV that is asked for.

    python -m tests.datasets.goldens.alignment      (with requirements-peers.txt; once with OpenCV 4, once with 5)

OpenCV 4 interpolates between 32 steps of a pixel, OpenCV 5 exactly; the file holds the faces of both.
"""

import importlib.util
import pathlib

import cv2
import numpy as np

# Places of a face in an image of 180 x 240: (scale, degrees, x and y of its centre).
FACES = {"turned": (0.8, 40, 110, 95), "large": (2.9, -15, 118, 88), "small": (0.25, 5, 60, 60),
         "at_the_left_edge": (0.9, -20, 8, 70), "at_the_corner": (1.3, 170, 236, 177)}
# As insightface's detectors give them for a face that is 112 pixels wide, about its centre.
POINTS = np.array([[-17, -4], [18, -6], [2, 15], [-14, 36], [15, 35]], np.float32)


def photo() -> np.ndarray:
    """u8[180,240,3]: waves, edges and a grid in colours."""
    y, x = np.mgrid[:180, :240].astype(np.float64)
    planes = [np.sin(x * y / 900), np.sin((x + 2 * y) / 14), np.cos(x / 7) * np.sin(y / 11)]
    image = 127 + 70 * np.stack(planes, -1) + 50 * (x > y)[:, :, None] - 60 * ((x // 24 + y // 18) % 4 == 0)[:, :, None]
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def landmarks(scale: float, degrees: float, x: float, y: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (POINTS @ turn.T + (x, y)).astype(np.float32)


def main() -> None:
    # The file alone: the package beside it would load a runtime for its models.
    package = importlib.util.find_spec("insightface").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("face_align", pathlib.Path(package) / "utils" / "face_align.py")
    face_align = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(face_align)
    path = pathlib.Path(__file__).with_suffix(".npz")
    results = dict(np.load(path)) if path.exists() else {}
    results["image"] = photo()
    for name, place in FACES.items():
        results[f"landmarks/{name}"] = landmarks(*place)
        results[f"opencv{cv2.__version__[0]}/{name}"] = face_align.norm_crop(photo(), landmarks(*place))
    np.savez_compressed(path, **results)


if __name__ == "__main__":
    main()
