"""Published figures and the recipes behind them: `--config=papers/FILE:ROW` is a run that should give one.

A file has one recipe family: ROWS names its rows, `get_config(row)` is a row's configuration, and `expected(row)` the
figures that were published for it, with the tolerance within which a single run counts as a reproduction.
Figures are shares (.9637 is 96.37 %), from the tables of the papers and repositories named in each file.
"""

import importlib

from geodesic.configs import default, protocols
from geodesic.errors import UserError

FILES = ("arcface_torch", "margin_ablation", "reality_check", "proxy_anchor", "imagenet", "cifar10", "omniglot", "fcos")

LAST, VALIDATION, TEST = "last", "best on validation", "best on test"
# Fields that do not make a configuration another recipe, and sections of such (with a dot at the end): a run that
# differs from its row in these alone is compared with the row's figures.
FREE = (
    # What the run is called, and its seed.
    "paper", "template", "seed",
    # Where data and weights lie; what is tested on, the protocol says.
    "train_data.path", "train_data.name", "train_data.fold", "test_data.", "calibration_data.", "init_from",
    # How the run is watched, and what becomes of an image that cannot be read.
    "run.", "evaluation.", "invalid_data_tolerance_percent",
    # How the same numbers are computed.
    "accumulation_steps", "loss.chunk_size", "loss.num_classes", "embedder.remat", "embedder.convolution",
    "embedder.dtype", "input.decode_to_scale",
)

# Mean and deviation of the pixels, 0..255, that public ImageNet weights of a trunk were trained with (docs/weights.md).
NORMALISATION = {
    "inception_bn": dict(mean=(128.0, 117.0, 104.0), std=(1.0, 1.0, 1.0)),
    "resnet50": dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
}


def expect(protocol: str, metric: str, value: float, tolerance: float, *, selection=(LAST, VALIDATION), models: int = 1,
           same_recipe: bool = True, pretrained: bool = False, image_size: int = 0, note: str = "") -> dict:
    """Describes one published figure, and what a record needs for being compared with it.

    Args:
        protocol: under which it was measured, a name of configs/protocols.py.
        metric: its name in a record, such as "recall@1".
        value: a share, .9637 for 96.37 %.
        tolerance: how far from it a single run may be, a share too.
        selection: how the checkpoint may have been chosen.
        models: how many embeddings are put side by side.
        same_recipe: whether the run must have this row's configuration; not where the figure is of another method
            altogether.
        pretrained: whether the paper's runs started from ImageNet weights.
        image_size: pixels of the crop; 0 is the configuration's.
        note: what a reader should know of it.

    Raises UserError for an unknown protocol.

    Example:
        >>> expect("cub200", "recall@1", 0.691, 0.01)["models"]
        1
    """
    return dict(protocol=protocols.get(protocol).name, metric=metric, value=value, tolerance=tolerance,
                selection=tuple(selection), models=models, same_recipe=same_recipe, pretrained=pretrained,
                image_size=image_size, note=note)


def start(file: str, row: str, rows) -> "default.ConfigDict":
    """Makes the default configuration, named after a row of a file. Raises UserError where `rows` does not have it.

    Example:
        >>> start("cifar10", "resnet101", rows=("resnet101",)).paper
        'cifar10:resnet101'
    """
    if row not in rows:
        raise UserError(f"configs/papers/{file}.py has no row {row!r}; it has {', '.join(rows)}")
    config = default.get_config()
    config.paper = f"{file}:{row}"
    return config


def use(config, name: str) -> None:
    """Makes a configuration train and test on the data of a protocol, and see images as it does.

    Where they lie is for --config.train_data.path to say. Raises UserError for an unknown protocol.

    Example:
        >>> config = default.get_config()
        >>> use(config, "cars196")
        >>> config.test_data.classes
        (98, 196)
    """
    protocol = protocols.get(name)
    for section, wanted in ((config.train_data, protocol.train), (config.test_data, protocol.test)):
        section.update(name=wanted.name, path=wanted.path, classes=tuple(wanted.classes))
    config.input.fit = protocol.fit
    config.input.resize_size = protocol.resize
    if protocol.image_size:
        config.input.image_size = protocol.image_size
    config.evaluation.average_horizontal_flips = protocol.flips
    if protocol.recall_at:
        config.evaluation.recall_at = protocol.recall_at


def load(file: str):
    """Imports a file of FILES. Raises UserError for another.

    Example:
        >>> load("cifar10").ROWS
        ('resnet101', 'resnext29_32x4d', 'resnext29_8x64d')
    """
    if file not in FILES:
        raise UserError(f"no file {file!r} in configs/papers; known: {', '.join(FILES)}")
    return importlib.import_module(f"geodesic.configs.papers.{file}")


def split(paper: str):
    """Splits FILE:ROW into the file's module and the row. Raises UserError for an unknown one.

    Example:
        >>> split("cifar10:resnet101")[1]
        'resnet101'
    """
    file, _, row = paper.partition(":")
    module = load(file)
    if row not in module.ROWS:
        raise UserError(f"configs/papers/{file}.py has no row {row!r}; it has {', '.join(module.ROWS)}")
    return module, row


def names() -> list[str]:
    """Lists FILE:ROW of every row.

    Example:
        >>> "cifar10:resnet101" in names()
        True
    """
    return [f"{file}:{row}" for file in FILES for row in load(file).ROWS]
