"""Blood cells on microscope photographs: red cells, white cells and platelets, found by a ResNet-50.

    geodesic train --config=bccd --workdir=runs/bccd --config.init_from=WEIGHTS \\
        --config.train_data.path='bccd/{train,val}.json#images' --config.test_data.path='bccd/test.json#images'
    geodesic evaluate --workdir=runs/bccd

WEIGHTS is a folder of imported weights of a ResNet-50 (docs/weights.md); the normalisation is theirs. Without more the
trunk is frozen, for two CPU cores: its maps of four views of each photograph are kept on the disk while it trains (4.4
GB), and the pyramid and the head learn from these. With --config=bccd:tuned it learns, from larger and more varied
views, for a GPU. Both were chosen on val, trained on train alone. BCCD has 364 photographs of 640 x 480 pixels, in the
repository's own parts 205, 87 and 72; many of the red cells have no box. docs/detection.md has what they reach, and
--sweep=bccd repeats them with three seeds.
"""

from geodesic.configs import default
from geodesic.errors import UserError

# What a trunk that learns is trained with, beside the rest.
TUNED = {
    "detection.kept_views": 0, "detection.height": 480, "detection.width": 640,
    "box_augment.crop": 0.5, "box_augment.scale": (0.7, 1.4), "box_augment.color_jitter": (0.2, 0.2, 0.2, 0.02),
    "optimizer.trunk_learning_rate_factor": 0.1, "optimizer.ema_decay": 0.99,
    "embedder.dtype": "bfloat16", "run.loader_workers": 2,
}


def get_config(trunk: str = "frozen"):
    """Makes the configuration; where data and weights lie is for the command line to say.

    trunk: "frozen" or "tuned". Raises UserError for another.
    """
    if trunk not in ("frozen", "tuned"):
        raise UserError(f"configs/bccd.py has a trunk that is frozen or tuned; got {trunk!r}")
    config = default.get_config()
    config.task = "detection"
    config.train_data.name = config.test_data.name = "coco"
    config.input.update(mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0))
    config.embedder.update(name="resnet50", version="v1", bn_epsilon=1e-3, bn_momentum=0.99, batch_norm="frozen")
    config.detection.update(height=320, width=416, max_boxes=32, channels=128, depth=2, kept_views=4)
    config.box_augment.update(horizontal_flip=0.5, scale=(0.8, 1.25))
    config.loss.name = "fcos"
    config.optimizer.update(name="adamw", learning_rate=1.5e-3, weight_decay=1e-4, trunk_learning_rate_factor=0.0)
    config.schedule.update(name="cosine", warmup_epochs=0.2)
    config.batch_size, config.num_epochs = 8, 30
    config.evaluation.batch_size = 8
    config.run.update(log_every_steps=10, keep_best="ap")
    if trunk == "tuned":
        config.update_from_flattened_dict(TUNED)
    return config
