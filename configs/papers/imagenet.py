"""ImageNet classification from scratch: what the trunks should reach.

    geodesic train --config=papers/imagenet:resnet101 --workdir=runs/imagenet_resnet101 \\
        --config.train_data.path=imagenet/train --config.test_data.path=imagenet/val
    geodesic evaluate --workdir=runs/imagenet_resnet101 --protocol=imagenet --data=imagenet

Batch 256, SGD .1, momentum .9, weight decay 1e-4, divided by 10 every 30 epochs, 90 epochs (ResNeXt 100); random crops
at 224 and flips; shorter side 256, centre crop 224. Figures: torchvision's first weights, the ResNeXt paper
(arXiv:1611.05431) and the public MXNet Inception-BN. He, Zhang, Ren, Sun, 2015, arXiv:1512.03385.
"""

from geodesic.configs import papers

# Row -> (top-1, epochs, tolerance).
_ROWS = {
    "resnet50": (0.7613, 90, 0.003),
    "resnet101": (0.7737, 90, 0.003),
    "resnext50_32x4d": (0.7762, 100, 0.003),
    "resnext101_32x8d": (0.7931, 100, 0.003),
    "resnext101_32x4d": (0.788, 100, 0.003),
    "resnext101_64x4d": (0.796, 100, 0.003),
    "inception_bn": (0.725, 90, 0.005),
}
ROWS = tuple(_ROWS)


def get_config(row: str = "resnet101"):
    """Makes the configuration of one of ROWS. Raises UserError for another."""
    config = papers.start("imagenet", row, ROWS)
    papers.use(config, "imagenet")
    config.input.update(**papers.NORMALISATION["resnet50"])
    config.augment.update(horizontal_flip=0.5, random_resized_crop=True, crop_area=(0.08, 1.0))
    config.embedder.update(name=row, embedding_size=0, dtype="bfloat16")
    config.loss.name = "softmax"
    config.batch_size, config.num_epochs = 256, _ROWS[row][1]
    config.optimizer.update(name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
    config.schedule.update(name="step", step_epochs=(30.0, 60.0, 90.0)[:3 if _ROWS[row][1] > 90 else 2],
                           step_factor=0.1, warmup_epochs=0.0)
    return config


def expected(row: str) -> list[dict]:
    """Lists the figures that were published for a row, as `papers.expect` has them."""
    top1, _, tolerance = _ROWS[row]
    return [papers.expect("imagenet", "top1", top1, tolerance)]
