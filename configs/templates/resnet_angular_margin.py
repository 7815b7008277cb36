"""The resnet_angular_margin template: a ResNet-101 embedding under an additive angular margin.

    geodesic train --config=templates/resnet_angular_margin --workdir=runs/margin \\
        --config.train_data.name=image_folder --config.train_data.path=photos/train \\
        --config.test_data.name=image_folder --config.test_data.path=photos/test

Deng, Guo, Xue, Zafeiriou: ArcFace, 2018, arXiv:1801.07698. No public table has this recipe: compare with a run of
your own. docs/templates.md has the platform's names of the fields.
"""

from geodesic.configs import templates
from geodesic.configs.templates import Range

LIMITS = templates.LIMITS | {"loss.arcface.scale": Range(16, 128), "loss.arcface.margin": Range(0.1, 0.9),
                             "embedder.embedding_size": Range(1, 65_536, 1)}


def get_config():
    """Makes the configuration that this file describes."""
    config = templates.base("resnet_angular_margin")
    config.embedder.update(name="resnet101", embedding_size=512)
    config.loss.name = "arcface"
    config.loss.arcface.update(scale=64.0, margin=0.5)
    return config
