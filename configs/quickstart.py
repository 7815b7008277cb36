"""The resnet_angular_margin template, small: faces of 30 people to train on, 10 others to be found again.

    geodesic train --config=quickstart --workdir=runs/quickstart

The same loss and step as configs/templates/resnet_angular_margin.py; the trunk, the image size and the schedule are
chosen for two CPU cores. `--config.embedder.name=resnet101` trains the template's own trunk.
benchmarks/results/quickstart.md has what it reaches.
"""

from geodesic.configs import default


def get_config():
    """Makes the configuration that this file describes."""
    config = default.get_config()
    config.train_data.classes = (0, 30)
    config.test_data.classes = (30, 40)
    config.input.image_size = 64
    # Affine views only: each person was photographed in one light, so brightness and contrast tell people apart
    # here, and teaching the network to ignore them lowers the TAR.
    config.augment.update(rotation=12.0, translation=0.08, scaling=0.2)
    config.embedder.update(name="resnet8", embedding_size=512)
    # 30 classes need a smaller scale than the 10,000s that 64 is made for.
    config.loss.arcface.update(scale=16.0, margin=0.3)
    config.loss.cosface.update(scale=16.0, margin=0.2)
    config.loss.normface.update(scale=16.0)
    config.optimizer.update(name="adamw", learning_rate=1e-3, weight_decay=0.5)
    config.schedule.update(name="cosine", warmup_epochs=1.0)
    config.batch_size = 16
    config.num_epochs = 60
    config.evaluation.update(every_epochs=6.0, batch_size=64, average_horizontal_flips=True)
    config.run.log_every_steps = 50
    return config
