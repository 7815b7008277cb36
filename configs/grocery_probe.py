"""Groceries, 81 kinds, named by linear classifiers on the frozen features of Keras' ResNet-50, trained on ImageNet.

    geodesic import_weights --weights=ResNet50/model.json --embedder=resnet50 --out=weights/keras
    geodesic probe --config=grocery_probe --workdir=weights/keras --layer=embedding,stage3+embedding \\
        --config.train_data.path=grocery/train --config.test_data.path=grocery/test --validation=grocery/val

160 pixels, for two CPU cores. Reached: top-1 .681 [.662, .699] by logistic regression and .707 [.688, .726] by ridge
regression, and .316, .526, .585 with 1, 5, 10 labels a class (seed 0; docs/recognition.md has the protocol). Published
for fine classes, by networks that were trained on these photographs as a whole, so no probe's figure: .8604
(Antioquia: Using Convolutional Neural Networks for Hierarchical Grocery Store Product Classification, 2021). The data:
Klasson, Zhang, Kjellström: A Hierarchical Grocery Store Image Dataset with Visual and Semantic Labels, 2019,
arXiv:1901.00711.
"""

from geodesic.configs import default, papers


def get_config():
    """Makes the configuration; where the images lie is for the command line to say."""
    config = default.get_config()
    papers.use(config, "grocery_classification")
    config.input.update(image_size=160, mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0))
    config.embedder.update(name="resnet50", embedding_size=0, version="v1", bn_epsilon=1e-3, bn_momentum=0.99)
    config.evaluation.batch_size = 32
    return config
