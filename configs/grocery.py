"""Photographs of groceries, 81 kinds: classified, and kinds never trained on found again; for two CPU cores.

    geodesic train --config=grocery:classification --workdir=runs/grocery \\
        --config.train_data.path=grocery/train --config.test_data.path=grocery/test
    geodesic evaluate --workdir=runs/grocery --protocol=grocery_classification --data=grocery

Tasks: classification (all kinds) and retrieval (trained on the first 41 kinds, searched among the other 40), each from
scratch with a small ResNet, or, with "_pretrained" behind the task, by tuning a ResNet-50 from
--config.init_from=WEIGHTS (docs/weights.md). benchmarks/results/grocery.md has what they reach.
classification_finetuned does that at 224 pixels and for longer, for a GPU, by a recipe that was set beforehand;
configs/sweeps/grocery_finetuned.py asks for a better one, and has not been run yet. Klasson, Zhang, Kjellström: A
Hierarchical Grocery Store Image Dataset with Visual and Semantic Labels, 2019, arXiv:1901.00711.
"""

from geodesic.configs import default, papers
from geodesic.errors import UserError

TASKS = ("classification", "classification_pretrained", "classification_finetuned", "retrieval", "retrieval_pretrained")


def get_config(task: str = "classification"):
    """Makes the configuration of one of TASKS. Raises UserError for another."""
    if task not in TASKS:
        raise UserError(f"configs/grocery.py has no task {task!r}; it has {', '.join(TASKS)}")
    config = default.get_config()
    task, _, start = task.partition("_")
    papers.use(config, f"grocery_{task}")
    config.augment.update(random_resized_crop=True, crop_area=(0.25, 1.0), horizontal_flip=0.5,
                          color_jitter=(0.3, 0.3, 0.3, 0.0))
    config.loss.arcface.update(scale=16.0, margin=0.3)
    config.optimizer.update(name="adamw", weight_decay=0.1)
    config.schedule.update(name="cosine", warmup_epochs=0.2)
    config.evaluation.batch_size = 64
    config.run.log_every_steps = 20
    return {"": _from_scratch, "pretrained": _tuned, "finetuned": _finetuned}[start](config)


def _from_scratch(config):
    config.input.image_size = 48
    config.embedder.update(name="resnet8", embedding_size=256)
    config.optimizer.learning_rate = 2e-3
    config.batch_size, config.num_epochs = 64, 8
    return config


def _tuned(config):
    """The trunk starts from ImageNet, so its statistics stay and it learns a tenth as fast as the new layers."""
    config.input.update(image_size=80, mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0))
    config.embedder.update(name="resnet50", embedding_size=256, version="v1", bn_epsilon=1e-3, bn_momentum=0.99,
                           batch_norm="frozen")
    config.optimizer.update(learning_rate=1e-3, trunk_learning_rate_factor=0.1, embedder_clip_norm=5.0)
    config.batch_size, config.num_epochs = 16, 1
    return config


def _finetuned(config):
    """As users expect a classifier to be tuned: a linear layer on the pooled map, which learns alone for an epoch."""
    config = _tuned(config)
    config.task = "classification"
    config.input.update(image_size=224, resize_size=256)
    config.embedder.update(embedding_size=0, dtype="bfloat16")
    config.head.name = "linear"
    config.loss.name, config.loss.softmax.label_smoothing = "softmax", 0.1
    config.optimizer.update(weight_decay=0.05, decay_norm_and_bias=False, head_only_epochs=1.0, clip_norm=5.0,
                            embedder_clip_norm=0.0, trunk_learning_rate_factor=0.3)
    config.batch_size, config.num_epochs = 32, 16
    return config
