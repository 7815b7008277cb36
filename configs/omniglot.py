"""Omniglot, small: 300 characters to train on, 200 of other alphabets to be found again; for two CPU cores.

    geodesic train --config=omniglot --workdir=runs/omniglot \\
        --config.train_data.path=omniglot.npz --config.test_data.path=omniglot.npz

The first 300 background characters and the first 200 evaluation characters, 20 drawers each: no class in common, and no
alphabet. What configs/sweeps/ compares losses on. Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through
probabilistic program induction, 2015.
"""

from geodesic.configs import default


def get_config():
    """Makes the configuration that this file describes."""
    config = default.get_config()
    for data, classes in ((config.train_data, (0, 300)), (config.test_data, (964, 1164))):
        data.update(name="omniglot", path="omniglot.npz", classes=classes)
    config.input.image_size = 28
    config.augment.update(horizontal_flip=0.0, rotation=12.0, translation=0.08, scaling=0.2)
    config.embedder.update(name="resnet8", embedding_size=128, pooling="flatten", neck="bn_fc_bn")
    for loss in (config.loss.arcface, config.loss.cosface, config.loss.normface, config.loss.sphereface,
                 config.loss.combined):
        loss.scale = 32.0
    config.optimizer.update(name="adamw", learning_rate=2e-3, weight_decay=0.1)
    config.schedule.update(name="cosine", warmup_epochs=0.5)
    config.batch_size, config.evaluation.batch_size = 64, 200
    config.num_epochs = 3
    config.run.log_every_steps = 50
    return config
