"""The resnet_angular_margin template on the ORL faces: 30 people to train on, 10 never seen."""

from configs import default


def get_config():
    config = default.get_config()
    config.train_data.classes = (0, 30)
    config.test_data.classes = (30, 40)
    config.input.image_size = 64
    config.augment.update(rotation=10.0, translation=0.06, scaling=0.15, brightness=0.1, contrast=0.2)
    config.embedder.name = "resnet10_quarter"
    config.embedder.embedding_size = 128
    config.loss.arcface.update(scale=16.0, margin=0.3)
    config.loss.cosface.update(scale=16.0, margin=0.2)
    config.loss.normface.update(scale=16.0)
    config.optimizer.update(learning_rate=0.1, weight_decay=5e-4)
    config.schedule.update(name="cosine", warmup_epochs=1.0)
    config.batch_size = 32
    config.num_epochs = 30
    config.evaluation.batch_size = 100
    return config
