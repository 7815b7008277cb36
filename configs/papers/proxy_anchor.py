"""Proxy-Anchor on CUB, Cars196, Stanford Online Products and In-Shop, with Inception-BN and ResNet-50.

    geodesic train --config=papers/proxy_anchor:cub_inception_bn --workdir=runs/cub_anchor \\
        --config.train_data.path=CUB_200_2011/images --config.test_data.path=CUB_200_2011/images \\
        --config.init_from=weights/inception_bn
    geodesic evaluate --workdir=runs/cub_anchor --protocol=cub200 --data=CUB_200_2011 --select_on_test

Paths of the large sets name their split: Stanford_Online_Products#train and #test, In-Shop#train and #query.

512 numbers of averaged plus maximal features, AdamW 1e-4 (6e-4 for the large sets), proxies at 100 times the rate,
batch 180 (120 for ResNet-50), the head alone for the first epoch (five for ResNet-50), gradients clipped to +-10,
random crops at 224 and flips; frozen BatchNorm on the small sets. The published figures are the best epoch's on the
test set, so only a record that is marked so compares with them. Large sets with ResNet-50 were not published.
Kim, Kim, Cho, Kwak: Proxy Anchor Loss, 2020, arXiv:2003.13911, and tjddus9597/Proxy-Anchor-CVPR2020.
"""

from geodesic.configs import papers

_SETS = {"cub": "cub200", "cars": "cars196", "sop": "sop", "in_shop": "in_shop"}
_TRUNKS = ("inception_bn", "resnet50")
ROWS = tuple(f"{name}_{trunk}" for name in _SETS for trunk in _TRUNKS)
# Row -> (recall at 1, tolerance).
_FIGURES = {
    "cub_inception_bn": (0.691, 0.010), "cub_resnet50": (0.699, 0.010),
    "cars_inception_bn": (0.864, 0.012), "cars_resnet50": (0.877, 0.012),
    "sop_inception_bn": (0.792, 0.005), "in_shop_inception_bn": (0.919, 0.005),
}
# (set, trunk) -> epochs between two drops of the learning rate.
_DROPS = {("cub", "inception_bn"): 10.0, ("cub", "resnet50"): 5.0, ("cars", "inception_bn"): 20.0,
          ("cars", "resnet50"): 10.0}


def _parts(row: str) -> tuple[str, str]:
    name = next(name for name in _SETS if row.startswith(f"{name}_"))
    return name, row[len(name) + 1:]


def get_config(row: str = "cub_inception_bn"):
    """Makes the configuration of one of ROWS. Raises UserError for another."""
    config = papers.start("proxy_anchor", row, ROWS)
    name, trunk = _parts(row)
    small = name in ("cub", "cars")
    papers.use(config, _SETS[name])
    config.input.update(image_size=224, resize_size=256, **papers.NORMALISATION[trunk])
    config.augment.update(horizontal_flip=0.5, random_resized_crop=True)
    config.embedder.update(name=trunk, embedding_size=512, pooling="average_max",
                           batch_norm="frozen" if small else "local")
    config.loss.name = "proxy_anchor"
    config.loss.proxy_anchor.update(margin=0.1, alpha=32.0)
    config.optimizer.update(name="adamw", learning_rate=1e-4 if small else 6e-4, weight_decay=1e-4, value_clip=10.0,
                            loss_learning_rate_factor=100.0, head_only_epochs=5.0 if trunk == "resnet50" else 1.0)
    config.batch_size, config.num_epochs = 120 if trunk == "resnet50" else 180, 60
    every = _DROPS[name, trunk] if small else 20.0
    config.schedule.update(name="step_every", first_step_epoch=every, step_every_epochs=every,
                           step_factor=0.5 if small else 0.25)
    config.evaluation.every_epochs = 1.0
    # The best epoch can only be found among those that are kept.
    config.run.checkpoints_to_keep = 60
    return config


def expected(row: str) -> list[dict]:
    """Lists the figures that were published for a row, as `papers.expect` has them."""
    if row not in _FIGURES:
        return []
    value, tolerance = _FIGURES[row]
    return [papers.expect(_SETS[_parts(row)[0]], "recall@1", value, tolerance, selection=(papers.TEST,), image_size=224,
                          pretrained=True, note="published: best epoch on the test set")]
