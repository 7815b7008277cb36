"""The models whose outputs are compared with public implementations; shared by the script and the tests."""

import pathlib
from typing import NamedTuple

FOLDER = pathlib.Path(__file__).parent / "goldens"
BATCH = 4


class Case(NamedTuple):
    source: str                      # whose definition of the model
    embedder: str                    # our name
    sizes: tuple[int, ...]           # pixels, an odd one among them
    stage_sizes: tuple[int, ...] = ()    # () = the model's own
    gradient: bool = False


_TINY = (1, 1, 1, 1)
# Cadene's model takes only sizes whose maps are even where a module halves them: 97 is one of them.
CASES = {
    # Small ones for every run of the suite ...
    "resnet18_tiny": Case("torchvision", "resnet18", (64, 75), _TINY),
    "resnet50_tiny": Case("torchvision", "resnet50", (64, 75), _TINY, gradient=True),
    "resnext50_32x4d_tiny": Case("torchvision", "resnext50_32x4d", (64, 75), _TINY, gradient=True),
    "resnext101_64x4d_tiny": Case("timm", "resnext101_64x4d", (64, 75), _TINY),
    "iresnet18_tiny": Case("own", "iresnet18", (64, 75), _TINY, gradient=True),
    # ... and the public ones.
    "inception_bn": Case("Cadene", "inception_bn", (64, 97), gradient=True),
    "resnet18": Case("torchvision", "resnet18", (96, 107)),
    "resnet34": Case("torchvision", "resnet34", (96, 107)),
    "resnet50": Case("torchvision", "resnet50", (96, 107), gradient=True),
    "resnet101": Case("torchvision", "resnet101", (96, 107)),
    "resnet152": Case("torchvision", "resnet152", (96, 107)),
    "resnext50_32x4d": Case("torchvision", "resnext50_32x4d", (96, 107), gradient=True),
    "resnext101_32x4d": Case("timm", "resnext101_32x4d", (96, 107)),
    "resnext101_32x8d": Case("torchvision", "resnext101_32x8d", (96, 107)),
    "resnext101_64x4d": Case("timm", "resnext101_64x4d", (96, 107)),
    "iresnet18": Case("own", "iresnet18", (112, 91)),
    "iresnet34": Case("own", "iresnet34", (112, 91)),
    "iresnet50": Case("own", "iresnet50", (112, 91), gradient=True),
    "iresnet100": Case("own", "iresnet100", (112, 91)),
    "iresnet200": Case("own", "iresnet200", (112, 91)),
}
