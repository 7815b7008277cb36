"""Writes goldens/NAME.npz: what public implementations compute, in float64, from seeded weights and images.

    pip install torch==2.13.0 && pip install --no-deps torchvision==0.16.2 timm==1.0.31 pretrainedmodels==0.7.4
    python -m tests.embedders.make_goldens [NAME ...]

torchvision, timm and Cadene are the installed packages. arcface_torch is in no package: `IResNet` below is that
model's structure and names, written anew.
"""

import itertools
import sys

import numpy as np
import torch
from torch import nn

from tests.embedders import goldens, seeded

MODULES = ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")


class IResNetBlock(nn.Module):
    def __init__(self, inputs: int, features: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, features, 3, 1, 1, bias=False)
        self.bn2, self.prelu = nn.BatchNorm2d(features), nn.PReLU(features)
        self.conv2, self.bn3 = nn.Conv2d(features, features, 3, stride, 1, bias=False), nn.BatchNorm2d(features)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, features, 1, stride, bias=False),
                                        nn.BatchNorm2d(features)) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + self.downsample(x)


class IResNet(nn.Module):
    def __init__(self, stage_sizes: tuple[int, ...], size: int):
        super().__init__()
        self.conv1, self.bn1, self.prelu = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        inputs = 64
        for stage, blocks in enumerate(stage_sizes):
            features = 64 * 2 ** stage
            layer = [IResNetBlock(inputs if i == 0 else features, features, 2 if i == 0 else 1) for i in range(blocks)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
            inputs = features
        self.bn2, self.fc = nn.BatchNorm2d(512), nn.Linear(512 * (-(-size // 16)) ** 2, 512)
        self.features = nn.BatchNorm1d(512)

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(torch.flatten(self.bn2(x), 1)))


def build(case: goldens.Case, size: int) -> nn.Module:
    if case.source == "Cadene":
        from pretrainedmodels.models.bninception import BNInception
        return BNInception()
    if case.source == "own":
        depths = {"iresnet18": (2, 2, 2, 2), "iresnet34": (3, 4, 6, 3), "iresnet50": (3, 4, 14, 3),
                  "iresnet100": (3, 13, 30, 3), "iresnet200": (6, 26, 60, 6)}
        return IResNet(case.stage_sizes or depths[case.embedder], size)
    if case.source == "timm":
        import timm
        return timm.create_model(case.embedder, **({"layers": case.stage_sizes} if case.stage_sizes else {}))
    import torchvision.models.resnet as peer
    if not case.stage_sizes:
        return getattr(peer, case.embedder)()
    block = peer.BasicBlock if case.embedder == "resnet18" else peer.Bottleneck
    fields = {"groups": 32, "width_per_group": 4} if case.embedder.startswith("resnext") else {}
    return peer.ResNet(block, list(case.stage_sizes), **fields)


def watch(model: nn.Module, source: str) -> dict[str, torch.Tensor]:
    """A dict that fills with every named layer, under our names, when the model runs."""
    seen = {}
    keep_output = lambda name: lambda module, args, output: seen.__setitem__(name, output)
    keep_input = lambda name: lambda module, args: seen.__setitem__(name, args[0])
    if source == "Cadene":
        # Inputs of what follows: outputs are changed in place by the ReLU after them.
        following = {"conv1/7x7_s2": "pool1_3x3_s2", "pool1/3x3_s2": "conv2_3x3_reduce", "conv2/3x3": "pool2_3x3_s2",
                     "pool2/3x3_s2": "inception_3a_1x1"}
        for name, after in itertools.pairwise(MODULES):
            first = "3x3_reduce" if after in ("3c", "4e") else "1x1"
            following[f"inception_{name}/concat"] = f"inception_{after}_{first}"
        for name, module in following.items():
            getattr(model, module).register_forward_pre_hook(keep_input(name))
        return seen
    (model.prelu if source == "own" else model.maxpool).register_forward_hook(keep_output("stem"))
    for stage in range(1, 5):
        getattr(model, f"layer{stage}").register_forward_hook(keep_output(f"stage{stage}"))
    if source == "own":
        model.fc.register_forward_pre_hook(keep_input("pool"))
        model.features.register_forward_hook(keep_output("embedding"))
    return seen


def run(case: goldens.Case, size: int, train: bool, arrays: dict, prefix: str) -> None:
    model, layers = forward(case, size, train, torch.float64)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    arrays["names"] = np.array(list(shapes))
    arrays[f"{size}/shapes"] = np.array([",".join(map(str, shape)) for shape in shapes.values()])
    arrays |= {f"{prefix}/{name}": summary(channels_last(case, name, layers)) for name in layers}
    if train:
        statistics(model, arrays, prefix)
        # What single precision costs PyTorch itself: with few pixels in a batch, its statistics magnify rounding.
        single_model, single = forward(case, size, train, torch.float32)
        arrays[f"{prefix}/float32_error"] = max(
            np.linalg.norm(summary(channels_last(case, name, single)) - value) / np.linalg.norm(value)
            for name, value in ((name, arrays[f"{prefix}/{name}"]) for name in layers))
    if train and case.gradient:
        output = "embedding" if case.source == "own" else "pool"
        values = gradients(model, layers[output])
        arrays[f"{prefix}/gradient_names"], expected = np.array(list(values)), products(values)
        arrays[f"{prefix}/gradients"] = expected
        found, scale = products(gradients(single_model, single[output])), scales(expected)
        directions = seeded.state_dict({name: value.shape for name, value in values.items()}, seed=3)
        lengths = np.array([[1.0, np.linalg.norm(directions[name])] for name in values])
        arrays[f"{prefix}/float32_gradient_error"] = np.max(np.abs(found - expected) / scale[:, None] / lengths)


def forward(case: goldens.Case, size: int, train: bool, dtype: torch.dtype) -> tuple[nn.Module, dict]:
    """(model, every named layer) from seeded weights and images."""
    torch.manual_seed(0)
    model = build(case, size).to(dtype)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(value) for name, value in seeded.state_dict(shapes).items()})
    model.train(train)
    images = torch.from_numpy(seeded.images(goldens.BATCH, size)).to(dtype)
    if case.source == "Cadene":
        images = images.flip(-1)  # blue first
    seen = watch(model, case.source)
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    if case.source == "Cadene":
        seen[last_layer(case)] = model.features(images)  # its head pools maps of 7x7 only
    else:
        model(images)
    if "pool" not in seen:
        seen["pool"] = seen[last_layer(case)].mean((2, 3))
    return model, seen


def last_layer(case: goldens.Case) -> str:
    return "inception_5b/concat" if case.source == "Cadene" else "stage4"


def channels_last(case: goldens.Case, name: str, layers: dict[str, torch.Tensor]) -> np.ndarray:
    value = layers[name].detach().numpy()
    if name == "pool" and case.source == "own":
        return flattened(value, layers[last_layer(case)])
    return np.moveaxis(value, 1, -1) if value.ndim == 4 else value


def flattened(value: np.ndarray, last: torch.Tensor) -> np.ndarray:
    """Channel-first flattening -> pixel-first, as ours."""
    return np.moveaxis(value.reshape(last.shape), 1, -1).reshape(value.shape)


def summary(values: np.ndarray) -> np.ndarray:
    return np.concatenate([seeded.samples(values), [values.mean(), values.std()]]).astype(np.float32)


def statistics(model: nn.Module, arrays: dict, prefix: str) -> None:
    """Updated running statistics: for each tensor its norm and its product with a seeded direction."""
    values = {name: value.numpy() for name, value in model.state_dict().items() if "running" in name}
    arrays[f"{prefix}/statistics"] = products(values)


def gradients(model: nn.Module, pooled: torch.Tensor) -> dict[str, np.ndarray]:
    model.zero_grad()
    (pooled * torch.from_numpy(seeded.cotangent(*pooled.shape)).to(pooled.dtype)).sum().backward()
    return {name: value.grad.numpy() for name, value in model.named_parameters() if value.grad is not None}


def scales(expected: np.ndarray) -> np.ndarray:
    """What an error is relative to: an array's norm, or a hundredth of the median one, for a bias before BatchNorm has
    no gradient but rounding."""
    return np.maximum(expected[:, 0], 1e-2 * np.median(expected[:, 0]))


def products(values: dict[str, np.ndarray]) -> np.ndarray:
    directions = seeded.state_dict({name: value.shape for name, value in values.items()}, seed=3)
    return np.array([[np.linalg.norm(value), np.vdot(value, directions[name])] for name, value in values.items()])


def main(names: list[str]) -> None:
    goldens.FOLDER.mkdir(exist_ok=True)
    for name in names or goldens.CASES:
        case, arrays = goldens.CASES[name], {}
        for size in case.sizes:
            for train in (False, True):
                run(case, size, train, arrays, f"{size}/{'train' if train else 'eval'}")
        path = goldens.FOLDER / f"{name}.npz"
        np.savez_compressed(path, **arrays)
        print(name, path.stat().st_size, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
