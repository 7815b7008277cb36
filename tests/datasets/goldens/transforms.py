"""Writes transforms.npz: torchvision's own resizing, colours and boxes.

    python -m tests.datasets.goldens.transforms      (with requirements-peers.txt)
"""

import pathlib

import numpy as np
import PIL.Image
import torch
from torchvision import transforms
from torchvision.transforms import functional as F

from tests.datasets.goldens import CROPS, ERASINGS, box_quantiles

SAMPLES = 20_000


def photo() -> np.ndarray:
    """u8[60,80,3]: waves of many lengths and an edge, in colours."""
    y, x = np.mgrid[:60, :80].astype(np.float64)
    planes = [np.sin(x * y / 300), np.sin((x + 2 * y) / 9), np.cos(x / 3) * np.sin(y / 20)]
    image = 127 + 80 * np.stack(planes, -1) + 40 * (x > y)[:, :, None]
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def main() -> None:
    torch.manual_seed(0)
    results = {"image": photo()}
    for name, ((height, width), area, ratio) in CROPS.items():
        image = torch.zeros(3, height, width)
        boxes = [transforms.RandomResizedCrop.get_params(image, list(area), list(ratio)) for _ in range(SAMPLES)]
        results[f"crop/{name}"] = box_quantiles(np.array(boxes), height, width)
    for name, ((height, width), area, ratio) in ERASINGS.items():
        image = torch.zeros(3, height, width)
        boxes = np.array([transforms.RandomErasing.get_params(image, area, ratio, [0.0])[:4] for _ in range(SAMPLES)])
        kept = boxes[boxes[:, 2] < height]  # it gives the whole image where no try fits
        results[f"erasing/{name}"] = box_quantiles(kept, height, width)
        results[f"erasing/{name}/share"] = np.float64(len(kept) / SAMPLES)
    image = PIL.Image.fromarray(photo())
    views = {
        "half": F.resize(image, [30, 40]), "third": F.resize(image, [20, 27]), "odd": F.resize(image, [25, 47]),
        "enlarged": F.resize(image, [90, 120]), "mixed": F.resize(image, [20, 100]),
        "centre": F.center_crop(F.resize(image, 42), 37), "centre_odd": F.center_crop(F.resize(image, 41), 32),
        "brightness": F.adjust_brightness(image, 1.3), "contrast": F.adjust_contrast(image, 0.6),
        "saturation": F.adjust_saturation(image, 1.5), "hue": F.adjust_hue(image, 0.1),
        "grey": F.rgb_to_grayscale(image, 3), "blur": F.gaussian_blur(image, [7, 7], [1.0, 1.0]),
    }
    results |= {f"view/{name}": np.array(view) for name, view in views.items()}
    np.savez_compressed(pathlib.Path(__file__).with_suffix(".npz"), **results)


if __name__ == "__main__":
    main()
