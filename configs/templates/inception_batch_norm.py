"""The inception_batch_norm template: an Inception-BN classifier, and embeddings from one of its layers.

    geodesic train --config=templates/inception_batch_norm --workdir=runs/inception \\
        --config.train_data.name=image_folder --config.train_data.path=photos/train \\
        --config.test_data.name=image_folder --config.test_data.path=photos/test

loss.name "softmax" learns one class per image, "sigmoid" any number. The classifier sees the last layer;
evaluation.layer names the one to embed from. Ioffe, Szegedy: Batch Normalization, 2015, arXiv:1502.03167 (72.5 to
74.8 % top-1 on ImageNet in public implementations). docs/templates.md has the platform's names of the fields.
"""

from geodesic.configs import templates

LIMITS = templates.LIMITS | {"loss.name": ("softmax", "sigmoid")}


def get_config():
    """Makes the configuration that this file describes."""
    config = templates.base("inception_batch_norm")
    config.embedder.update(name="inception_bn", embedding_size=0, layer="inception_5b/concat")
    config.loss.name = "softmax"
    config.evaluation.layer = "inception_5b/concat"
    return config
