"""The resnext template: a ResNeXt-101 32x4d classifier, and embeddings from one of its layers.

    geodesic train --config=templates/resnext --workdir=runs/resnext \\
        --config.train_data.name=image_folder --config.train_data.path=photos/train \\
        --config.test_data.name=image_folder --config.test_data.path=photos/test

loss.name "softmax" learns one class per image, "sigmoid" any number. The classifier sees the last layer;
evaluation.layer names the one to embed from. Xie, Girshick, Dollár, Tu, He: Aggregated Residual Transformations,
2016, arXiv:1611.05431 (78.8 % top-1 on ImageNet). docs/templates.md has the platform's names of the fields.
"""

from geodesic.configs import templates

LIMITS = templates.LIMITS | {"loss.name": ("softmax", "sigmoid")}


def get_config():
    """Makes the configuration that this file describes."""
    config = templates.base("resnext")
    config.embedder.update(name="resnext101_32x4d", embedding_size=0, layer="stage4")
    config.loss.name = "softmax"
    config.evaluation.layer = "stage4"
    return config
