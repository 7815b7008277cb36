"""Photographs of one's own, in a folder for each class: a head on a pretrained trunk, frozen first and then tuned.

    geodesic import_weights --weights=resnet50.safetensors --embedder=resnet50 --out=weights/resnet50
    geodesic train --config=recognition:photos --workdir=runs/photos --config.init_from=weights/resnet50
    geodesic evaluate --workdir=runs/photos
    geodesic embed --workdir=runs/photos --images=others --out=others.parquet

A fifth of the photographs of each class is set aside for testing (`test_share`); for a folder of test photographs, set
both shares to 0 and give --config.test_data.path. In the first two epochs only the classifier learns (and what a head
learns: --config.head.name=mlp, conv, recurrent or attention_pool, with fields of its own in configs/default.py), and
then the trunk too, a tenth as fast; --config.optimizer.trunk_learning_rate_factor=0 keeps it frozen. Weights that need
images of another normalisation are refused with the flags to give. Kumar et al.: Fine-Tuning can Distort Pretrained
Features and Underperform Out-of-Distribution, 2022, arXiv:2202.10054, is why the head comes first.

Tried small: on the first 8 kinds of grocery (classes (0,8) of its train, 328 photographs at 64 px), with a frozen trunk
of Keras' ImageNet weights, 31 steps of seed 0 name 64 of 82 others (top-1 .780); 83 s on two cores of a busy AMD EPYC,
jax 0.10.2, 2026-11-25.
"""

from geodesic.configs import default


def get_config(path: str = ""):
    """Makes the configuration for the photographs below `path`, a folder on a disk or in a bucket."""
    config = default.get_config()
    config.task = "classification"
    for data, part in ((config.train_data, "train"), (config.test_data, "test")):
        data.update(name="image_folder", path=path, test_share=0.2, part=part)
    config.input.update(image_size=224, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    config.augment.update(random_resized_crop=True, crop_area=(0.25, 1.0))
    # Photographs of one's own are few: the statistics stay those of the many that the trunk was trained on.
    config.embedder.update(name="resnet50", batch_norm="frozen")
    config.head.name = "linear"
    config.loss.name = "softmax"
    config.optimizer.update(name="adamw", learning_rate=1e-3, weight_decay=0.05, decay_norm_and_bias=False,
                            head_only_epochs=2.0, trunk_learning_rate_factor=0.1)
    config.schedule.update(name="cosine", warmup_epochs=0.2)
    config.batch_size, config.num_epochs = 32, 8
    config.evaluation.update(every_epochs=1.0, batch_size=64)
    return config
