"""The platform's three templates. docs/templates.md has the platform's names of these fields, and their ranges."""

from geodesic.configs import default


def base(name: str):
    """What the templates share."""
    config = default.get_config()
    config.template = name
    config.input.update(image_size=256, fit="center_crop")
    config.batch_size = config.evaluation.batch_size = 64
    config.num_epochs = 65
    config.optimizer.update(learning_rate_per_item=7.8125e-5, weight_decay=5e-4)
    # Two drops are a factor of ten: the six drops of 65 epochs leave a thousandth of the rate.
    config.schedule.update(name="step_every", first_step_epoch=25.0, step_every_epochs=7.0, step_factor=0.1 ** 0.5)
    config.invalid_data_tolerance_percent = 5.0
    return config
