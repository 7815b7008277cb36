"""A Metric Learning Reality Check: losses compared under one recipe on CUB, Cars196 and Stanford Online Products.

    geodesic train --config=papers/reality_check:cub_arcface --workdir=runs/cub_arcface_0 \\
        --config.train_data.path=CUB_200_2011/images --config.test_data.path=CUB_200_2011/images \\
        --config.init_from=weights/inception_bn --config.train_data.fold=0 --config.test_data.fold=0
    (the same with fold 1, 2 and 3)
    geodesic evaluate --workdir=runs/cub_arcface_0 --protocol=cub200 --data=CUB_200_2011 \\
        --select=validation --concatenate=runs/cub_arcface_1,runs/cub_arcface_2,runs/cub_arcface_3

Inception-BN with ImageNet weights and frozen BatchNorm, 128 numbers, RMSprop 1e-6, batch 32 (4 images a class for pair
losses, 1 for classification losses), shorter side 256, random crops of .16 to 1 at 227, centre crop 227; four
class-disjoint folds of the first half of the classes, each fold's checkpoint selected by validation map@r, and the four
embeddings side by side: the published 512. The paper found each loss's own numbers by 50 runs of Bayesian optimisation
per set; here they are the loss's defaults, to be given as --config.loss.LOSS.FIELD. Rows ending in _resnet50, and
In-Shop, were not published. Musgrave, Belongie, Lim, 2020, arXiv:2003.08505; figures of 10 runs.
"""

from geodesic.configs import papers

_SETS = {"cub": "cub200", "cars": "cars196", "sop": "sop", "in_shop": "in_shop"}
_LOSSES = ("arcface", "cosface", "normface", "multi_similarity")
_TRUNKS = {"": "inception_bn", "_resnet50": "resnet50"}
# Loss -> set -> (precision at 1, map@r) of the 512 numbers.
_FIGURES = {
    "arcface": {"cub": (0.6750, 0.2645), "cars": (0.8544, 0.2722), "sop": (0.7620, 0.4741)},
    "cosface": {"cub": (0.6732, 0.2670), "cars": (0.8552, 0.2757), "sop": (0.7579, 0.4692)},
    "normface": {"cub": (0.6565, 0.2525), "cars": (0.8316, 0.2600), "sop": (0.7567, 0.4713)},
    "multi_similarity": {"cub": (0.6504, 0.2470), "cars": (0.8514, 0.2807), "sop": (0.7450, 0.4579)},
    "pretrained": {"cub": (0.5105, 0.1421), "cars": (0.4689, 0.0591), "sop": (0.5071, 0.2344)},
}
_TOLERANCES = {"cub": 0.010, "cars": 0.012, "sop": 0.005}
ROWS = tuple(f"{name}_{loss}{trunk}" for name in _SETS for loss in _LOSSES for trunk in _TRUNKS) + tuple(
    f"{name}_pretrained" for name in ("cub", "cars", "sop"))
FOLDS = 4


def _parts(row: str) -> tuple[str, str, str]:
    """Splits a row into (set, loss, trunk)."""
    trunk = "_resnet50" if row.endswith("_resnet50") else ""
    name = next(name for name in _SETS if row.startswith(f"{name}_"))
    return name, row.removesuffix(trunk)[len(name) + 1:], _TRUNKS[trunk]


def get_config(row: str = "cub_arcface"):
    """Makes the configuration of one of ROWS. Raises UserError for another."""
    config = papers.start("reality_check", row, ROWS)
    name, loss, trunk = _parts(row)
    papers.use(config, _SETS[name])
    # Validated on the fold that is not trained on; the test classes come in with evaluate --protocol.
    config.test_data.update(name=config.train_data.name, path=config.train_data.path, classes=config.train_data.classes)
    for section, part in ((config.train_data, "train"), (config.test_data, "validation")):
        section.update(folds=FOLDS, fold=0, part=part)
    config.input.update(image_size=227, resize_size=256, **papers.NORMALISATION[trunk])
    config.augment.update(horizontal_flip=0.5, random_resized_crop=True, crop_area=(0.16, 1.0))
    config.embedder.update(name=trunk, embedding_size=128, batch_norm="frozen")
    config.batch_size = 32
    config.optimizer.update(name="rmsprop", learning_rate=1e-6, momentum=0.9, weight_decay=1e-4)
    config.schedule.name = "constant"
    config.evaluation.every_epochs, config.num_epochs = 1.0, 100
    if loss == "pretrained":
        return _untrained(config)
    config.loss.name = loss
    if loss == "multi_similarity":
        config.sampling.update(name="pk", images_per_class=4)
    return config


def _untrained(config):
    """The ImageNet features as they are: one update at a rate of 0."""
    config.embedder.embedding_size = 0
    config.loss.name = "normface"
    config.optimizer.learning_rate = 0.0
    config.total_steps = 1
    return config


def expected(row: str) -> list[dict]:
    """Lists the figures that were published for a row, as `papers.expect` has them."""
    name, loss, trunk = _parts(row)
    if trunk != "inception_bn" or name not in _FIGURES[loss]:
        return []
    how = dict(image_size=227, pretrained=True)
    if loss == "pretrained":
        how |= dict(selection=(papers.LAST,), same_recipe=False, note="ImageNet weights alone")
    else:
        how |= dict(selection=(papers.VALIDATION,), models=FOLDS)
    return [papers.expect(_SETS[name], metric, value, _TOLERANCES[name], **how)
            for metric, value in zip(("precision@1", "map@r"), _FIGURES[loss][name], strict=True)]
