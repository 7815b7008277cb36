"""FCOS on COCO: box AP of val2017 after 90,000 or 180,000 steps of 16 images.

    geodesic train --config=papers/fcos:resnet50_1x --workdir=runs/fcos --config.init_from=WEIGHTS \\
        --config.train_data.path=coco/annotations/instances_train2017.json \\
        --config.test_data.path=coco/annotations/instances_val2017.json
    geodesic evaluate --workdir=runs/fcos --protocol=coco --data=coco

WEIGHTS is a folder of imported ImageNet weights (docs/weights.md). Figures: the improved models of the authors' code,
tianzhi0549/FCOS. The recipe is theirs: GroupNorm in the towers, GIoU, points near the centre, the centerness beside the
boxes, distances in strides, SGD .01 divided by 10 twice, a trunk whose stem, first stage and BatchNorm are frozen.

What differs: pictures are letterboxed into 800 x 1344 pixels, so that upright ones are smaller than with a shorter side
of 800; boxes count alike, not by their centerness; the warm-up is linear from 0; pictures without a box are trained on.
Tian, Shen, Chen, He: FCOS, 2019, arXiv:1904.01355; arXiv:2006.09214.
"""

from geodesic.configs import papers

# Row -> (trunk, AP, thousands of steps).
_ROWS = {
    "resnet50_1x": ("resnet50", 0.387, 90),
    "resnet101_2x": ("resnet101", 0.429, 180),
    "resnext101_64x4d_2x": ("resnext101_64x4d", 0.447, 180),
}
ROWS = tuple(_ROWS)


def get_config(row: str = "resnet50_1x"):
    """Makes the configuration of one of ROWS. Raises UserError for another."""
    config = papers.start("fcos", row, ROWS)
    papers.use(config, "coco")
    trunk, _, steps = _ROWS[row]
    config.task, config.loss.name = "detection", "fcos"
    config.input.update(**papers.NORMALISATION["resnet50"])
    config.embedder.update(name=trunk, batch_norm="frozen")
    config.detection.update(height=800, width=1344, max_boxes=100, coarser=2, channels=256, depth=4, distances="relu")
    config.box_augment.update(horizontal_flip=0.5, scale=(1.0, 1.0) if steps == 90 else (0.8, 1.0))
    config.optimizer.update(
        name="sgd", learning_rate=0.01, momentum=0.9, weight_decay=1e-4,
        frozen=(("embedder/conv1", 0), ("embedder/bn1", 0), ("embedder/stage1_*", 0)),
        groups=(("embedder/*bn*", 0.0, 0.0), ("*/bias", 2.0, 0.0)))
    config.batch_size, config.total_steps = 16, 1000 * steps
    config.items_per_epoch = 16_000  # an epoch is a thousand steps
    config.schedule.update(name="step", step_epochs=(steps * 2 / 3, steps * 8 / 9), step_factor=0.1, warmup_epochs=0.5)
    config.evaluation.update(batch_size=16, every_epochs=float(steps))
    return config


def expected(row: str) -> list[dict]:
    """Lists the figures that were published for a row, as `papers.expect` has them."""
    return [papers.expect("coco", "ap", _ROWS[row][1], 0.005, pretrained=True,
                          note="pictures letterboxed into 800 x 1344 pixels")]
