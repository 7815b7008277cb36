"""CIFAR-10 named by linear classifiers on the frozen features of Keras' ResNet-50, trained on ImageNet, at 224 pixels.

    geodesic import_weights --weights=ResNet50/model.json --embedder=resnet50 --out=weights/keras
    geodesic probe --config=cifar10_probe --workdir=weights/keras --layer=embedding,stage3+embedding --nocontrols \\
        --config.train_data.path=cifar10/train --config.test_data.path=cifar10/test

The data are a folder for each class; cifar10#train and cifar10#test of a tfds folder are the same images, with
--config.train_data.name=tfds and --config.test_data.name=tfds. The 32 pixels are enlarged to 224 by bilinear
interpolation. Reached: .9198 [.9143, .9251] (seed 0; docs/recognition.md has the rest). Published for a supervised
ResNet-50: .9147, at C .056 (Ericsson, Gouk, Hospedales: How Well Do Self-Supervised Models Transfer?, 2021,
arXiv:2011.13377, and github.com/linusericsson/ssl-transfer).
"""

from geodesic.configs import default


def get_config():
    """Makes the configuration; where the images lie is for the command line to say."""
    config = default.get_config()
    for data in (config.train_data, config.test_data):
        data.name = "image_folder"
    config.input.update(image_size=224, fit="stretch", mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0))
    config.embedder.update(name="resnet50", embedding_size=0, version="v1", bn_epsilon=1e-3, bn_momentum=0.99)
    config.evaluation.batch_size = 64
    return config
