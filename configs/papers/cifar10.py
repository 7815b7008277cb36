"""CIFAR-10 classification: ResNeXt-29 of the paper and of kuangliu/pytorch-cifar, and ResNet-101 of the latter.

    geodesic train --config=papers/cifar10:resnext29_32x4d --workdir=runs/cifar_resnext29 \\
        --config.train_data.path=cifar10#train --config.test_data.path=cifar10#test
    geodesic evaluate --workdir=runs/cifar_resnext29 --protocol=cifar10

SGD .1 for a batch of 128, momentum .9, weight decay 5e-4; cosine over 200 epochs (kuangliu), or 300 epochs divided by
10 at 150 and 225 (Xie, Girshick, Dollár, Tu, He, 2016, arXiv:1611.05431). Both shift by up to 4 pixels, which is an
affine view here (borders repeated instead of zeros), and flip.
"""

from geodesic.configs import papers

# Row -> (top-1, whether the recipe is the paper's).
_ROWS = {"resnet101": (0.9375, False), "resnext29_32x4d": (0.9473, False), "resnext29_8x64d": (0.9635, True)}
ROWS = tuple(_ROWS)
_MEAN, _STD = (125.307, 122.961, 113.8575), (51.5865, 50.847, 51.255)


def get_config(row: str = "resnext29_32x4d"):
    """Makes the configuration of one of ROWS. Raises UserError for another."""
    config = papers.start("cifar10", row, ROWS)
    papers.use(config, "cifar10")
    config.input.update(image_size=32, fit="stretch", mean=_MEAN, std=_STD)
    config.augment.update(horizontal_flip=0.5, translation=4 / 32)
    config.embedder.update(name=row, embedding_size=0)
    if row == "resnet101":
        config.embedder.stem = "small"
    config.loss.name = "softmax"
    config.batch_size = 128
    config.optimizer.update(name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
    if _ROWS[row][1]:
        config.num_epochs = 300
        config.schedule.update(name="step", step_epochs=(150.0, 225.0), step_factor=0.1, warmup_epochs=0.0)
    else:
        config.num_epochs = 200
        config.schedule.update(name="cosine", warmup_epochs=0.0)
    return config


def expected(row: str) -> list[dict]:
    """Lists the figures that were published for a row, as `papers.expect` has them."""
    return [papers.expect("cifar10", "top1", _ROWS[row][0], 0.003)]
