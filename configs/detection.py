"""Boxes of one's own, as COCO's, VOC's or YOLO's files: a detector on a pretrained ResNet-50.

    geodesic import_weights --weights=resnet50.safetensors --embedder=resnet50 --out=weights/resnet50
    geodesic train --config=detection:coco --workdir=runs/mine --config.init_from=weights/resnet50 \\
        --config.train_data.path=boxes/train.json --config.test_data.path=boxes/test.json
    geodesic evaluate --workdir=runs/mine
    geodesic detect --workdir=runs/mine --images=photos --sheet=found.html

docs/data.md says what a path is of each source. Without test pictures of their own, a fifth is set aside by
--config.train_data.test_share=0.2 --config.test_data.test_share=0.2 --config.test_data.part=test and the same path
twice. In the first epoch the pyramid and the head learn alone, and then the trunk too, a tenth as fast;
--config.optimizer.trunk_learning_rate_factor=0 keeps it frozen. Weights that need images of another normalisation are
refused with the flags to give. For large pictures, or small objects in them, give more pixels:
--config.detection.height and width, multiples of 32, and --config.detection.coarser=2 from about 800 pixels on. Not run
as it stands; configs/bccd.py is, on blood cells.
"""

from geodesic.configs import default


def get_config(source: str = "coco"):
    """Makes the configuration for pictures with boxes of this source: coco, voc or yolo."""
    config = default.get_config()
    config.task, config.loss.name = "detection", "fcos"
    config.train_data.name = config.test_data.name = source
    config.input.update(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    # Pictures of one's own are few: the statistics stay those of the many that the trunk was trained on.
    config.embedder.update(name="resnet50", batch_norm="frozen")
    config.detection.update(height=512, width=512, coarser=1)
    config.box_augment.update(horizontal_flip=0.5, scale=(0.7, 1.3), color_jitter=(0.2, 0.2, 0.2, 0.0))
    config.optimizer.update(name="adamw", learning_rate=5e-4, weight_decay=0.05, decay_norm_and_bias=False,
                            head_only_epochs=1.0, trunk_learning_rate_factor=0.1, clip_norm=10.0)
    config.schedule.update(name="cosine", warmup_epochs=0.5)
    config.batch_size, config.num_epochs = 16, 24
    config.evaluation.update(every_epochs=4.0, batch_size=16)
    config.run.keep_best = "ap"
    return config
