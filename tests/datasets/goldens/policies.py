"""Writes policies.npz: what torchvision's RandAugment, AugMix, MixUp and CutMix do.

    python -m tests.datasets.goldens.policies      (with requirements-peers.txt)
"""

import itertools
import pathlib
from unittest import mock

import numpy as np
import PIL.Image
import torch
from torchvision.transforms import InterpolationMode, v2

from tests.datasets.goldens import CHAINS, MIXTURE, SIDES
from tests.datasets.goldens.transforms import photo


def speckled() -> np.ndarray:
    """u8[36,48,3]: a part of the photo, and grain, so that sharpening is seen."""
    noise = np.random.default_rng(0).integers(-25, 26, (36, 48, 3))
    return np.clip(photo()[:36, :48] + noise, 0, 255).astype(np.uint8)


def magnitudes(policy, bins: int) -> dict[str, np.ndarray]:
    """Operation -> f64[len(SIDES),bins], 0 where there is none, in the order of the policy; its sign is apart."""
    found = {}
    for name, (make, _) in policy._AUGMENTATION_SPACE.items():
        values = [make(bins, height, width) for height, width in SIDES]
        found[name] = np.array([np.zeros(bins) if value is None else value.double().numpy() for value in values])
    return found


def operations() -> dict[str, np.ndarray]:
    """Of RandAugment on a Pillow image (a strong magnitude) and of AugMix on a tensor (a weak one), of both signs."""
    image, views = PIL.Image.fromarray(speckled()), {}
    tensor = torch.from_numpy(speckled()).permute(2, 0, 1)
    for policy, given, index, bins in ((v2.RandAugment(), image, 25, 31), (v2.AugMix(), tensor, 2, 10)):
        kind = type(policy).__name__
        how = InterpolationMode.BILINEAR if kind == "AugMix" else InterpolationMode.NEAREST
        for name, (make, signed) in policy._AUGMENTATION_SPACE.items():
            value = make(bins, 36, 48)
            amount = 0.0 if value is None else float(value[index])
            for sign in (1, -1) if signed else (1,):
                made = policy._apply_image_or_video_transform(given, name, sign * amount, how, policy._fill)
                made = made.permute(1, 2, 0).numpy() if isinstance(made, torch.Tensor) else np.array(made)
                views[f"{kind}/{name}/{index}/{sign}"] = made
    return views


def mixture() -> np.ndarray:
    """AugMix with the given weights and chains, at severity 1."""
    policy = v2.AugMix(severity=1, mixture_width=len(CHAINS), chain_depth=len(CHAINS[0]))
    drawn = iter([torch.tensor([MIXTURE[0]]), torch.tensor([MIXTURE[1]])])
    policy._sample_dirichlet = lambda parameters: next(drawn)
    names = iter(itertools.chain(*CHAINS))
    policy._get_random_item = lambda space: (name := next(names), space[name])
    return policy(torch.from_numpy(speckled()).permute(2, 0, 1)).permute(1, 2, 0).numpy()


def boxes() -> np.ndarray:
    """f64[N,10]: height, width, weight, x, y, and CutMix's left, top, right, bottom and weight of these."""
    rng, rows, policy = np.random.default_rng(0), [], v2.CutMix(num_classes=2)
    for height, width in SIDES:
        images = torch.zeros(2, 3, height, width)
        for _ in range(100):
            weight, x, y = float(rng.random()), int(rng.integers(width)), int(rng.integers(height))
            policy._dist = mock.Mock(sample=lambda shape, weight=weight: weight)
            with mock.patch("torch.randint", side_effect=[torch.tensor([x]), torch.tensor([y])]):
                found = policy._get_params([images])
            rows.append([height, width, weight, x, y, *found["box"], found["lam_adjusted"]])
    return np.array(rows)


def mixup() -> dict[str, np.ndarray]:
    policy = v2.MixUp(num_classes=3)
    policy._dist = mock.Mock(sample=lambda shape: 0.3)
    images = torch.from_numpy(np.stack([speckled(), speckled()[::-1]])).permute(0, 3, 1, 2).float()
    images, targets = policy(images, torch.tensor([2, 1]))
    return {"mixup/image": images[0].permute(1, 2, 0).numpy(), "mixup/target": targets[0].numpy()}


def main() -> None:
    results = {"image": speckled(), "mixture": mixture(), "boxes": boxes(), **mixup(), **operations()}
    for policy, bins in ((v2.RandAugment, 31), (v2.AugMix, 10)):
        space = policy._AUGMENTATION_SPACE
        results[f"{policy.__name__}/names"] = np.array([*space])
        results[f"{policy.__name__}/signed"] = np.array([name for name in space if space[name][1]])
        results |= {f"{policy.__name__}/magnitudes/{name}": values for name, values in magnitudes(policy, bins).items()}
    np.savez_compressed(pathlib.Path(__file__).with_suffix(".npz"), **results)


if __name__ == "__main__":
    main()
