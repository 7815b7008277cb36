"""Blood cells found with the maps of many trunks: trained on ImageNet, tuned, trained with ArcFace, or not at all.

    geodesic sweep --sweep=bccd --workdir=runs/bccd
    geodesic sweep --sweep=bccd:choice --workdir=runs/bccd
    geodesic sweep --sweep=bccd:rf100 --workdir=runs/bccd
    geodesic sweep --sweep=bccd:scratch --workdir=runs/bccd

Needs bccd/{train,val,test}.json and bccd/images in the current folder, and weights/keras, an imported ResNet-50
(docs/weights.md). Trained on the repository's train and val, tested on its test, with three seeds; the trunk of ArcFace
is weights/arcface, a run of `--config=grocery:retrieval_pretrained` or another. choice is of what a frozen and a tuned
trunk are trained with, on train and val alone. rf100 has the proportions of Roboflow 100, by the lists of
configs/bccd_lists, which it needs in the current folder. scratch is of trunks without public weights here, which learn
from nothing. Trunks that learn are for a GPU: `--trial=N` runs one of the rest. Choice and scratch take one seed.
`python -m benchmarks.bccd` makes one table of what was run, on whatever machines.
"""

from geodesic.configs import bccd, sweeps
from geodesic.errors import UserError

_KERAS = {"init_from": "weights/keras"}
_LARGE = {"detection.height": 480, "detection.width": 640}
_AVERAGE = {"optimizer.ema_decay": 0.99}
_MIRRORED = {"box_augment.vertical_flip": 0.5}
_LEARNS = {"detection.kept_views": 0, "embedder.dtype": "bfloat16", "run.loader_workers": 2}
_TUNED = _LEARNS | {"optimizer.trunk_learning_rate_factor": 0.1}
# Without public weights here: these learn from nothing.
_SCRATCH = _LEARNS | {"optimizer.trunk_learning_rate_factor": 1.0, "embedder.batch_norm": "local",
                      "embedder.version": None, "embedder.bn_epsilon": None, "embedder.bn_momentum": None}
_IMAGENET = [
    {"label": "ImageNet, frozen"} | _KERAS,
    {"label": "ImageNet, tuned"} | _KERAS | bccd.TUNED,
]
_POINTS = {
    "choice": [point | _KERAS for point in (
        {"label": "frozen"},
        {"label": "frozen, average"} | _AVERAGE,
        {"label": "frozen, average, mirrored both ways"} | _AVERAGE | _MIRRORED,
        {"label": "frozen, average, 8 views, 60 epochs", "detection.kept_views": 8, "num_epochs": 60} | _AVERAGE,
        {"label": "frozen, average, 640 x 480"} | _AVERAGE | _LARGE,
        {"label": "tuned"} | _TUNED,
        {"label": "tuned, average, 640 x 480"} | _TUNED | _AVERAGE | _LARGE,
        {"label": "tuned, average, 640 x 480, varied"} | bccd.TUNED,
        {"label": "tuned, average, 640 x 480, varied, mirrored both ways"} | bccd.TUNED | _MIRRORED,
    )],
    "trunks": [
        *_IMAGENET,
        {"label": "untrained, frozen"},
        {"label": "ArcFace, frozen", "init_from": "weights/arcface"},
    ],
    "scratch": [{"label": f"{name} from nothing", "embedder.name": name} | _SCRATCH
                for name in ("resnet50", "resnet101", "resnext50_32x4d", "inception_bn")],
    "rf100": _IMAGENET,
}
# Part -> what is trained on, and tested on, where it is not the repository's.
_DATA = {"choice": ("train.json#images", "val.json#images"),
         "rf100": tuple("{train,val,test}.json#" + f"configs/bccd_lists/{part}.txt" for part in ("train", "test"))}


def get_sweep(part: str = "trunks"):
    """Makes the sweep, or one of its parts. Raises UserError for another."""
    if part not in _POINTS:
        raise UserError(f"configs/sweeps/bccd.py has no part {part!r}; it has {', '.join(_POINTS)}")
    train, test = _DATA.get(part, ("{train,val}.json#images", "test.json#images"))
    return sweeps.sweep(config="bccd", axes=[_POINTS[part]], seeds=range(1 if part in ("choice", "scratch") else 3),
                        metrics=("ap", "ap50", "ap75"), baseline=_POINTS[part][0]["label"],
                        common={"train_data.path": f"bccd/{train}", "test_data.path": f"bccd/{test}"})
