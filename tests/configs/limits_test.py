import pytest

from geodesic.configs import default, limits, templates


def template(name: str):
    return templates.load(name).get_config()


@pytest.mark.parametrize("name", templates.names())
def test_a_template_is_within_its_own_ranges(name):
    config = template(name)
    assert config.template == name
    limits.check(config)


@pytest.mark.parametrize("value", (16, 31, 40, 250, 1040))
def test_an_image_size_outside(value):
    config = template("resnext")
    config.input.image_size = value
    with pytest.raises(ValueError, match=r"resnext: input\.image_size is 32 to 1024 in steps of 16; got"):
        limits.check(config)


@pytest.mark.parametrize(("scale", "margin"), ((15.9, 0.5), (129.0, 0.5), (64.0, 0.09), (64.0, 0.91)))
def test_an_angular_margin_outside(scale, margin):
    config = template("resnet_angular_margin")
    config.loss.arcface.update(scale=scale, margin=margin)
    with pytest.raises(ValueError, match=r"margin: loss\.arcface\.(scale is 16 to 128|margin is 0\.1 to 0\.9); got"):
        limits.check(config)
    config.template = ""
    limits.check(config)


def test_a_classifier_needs_a_classifiers_loss():
    config = template("inception_batch_norm")
    config.loss.name = "arcface"
    with pytest.raises(ValueError, match=r"loss\.name is softmax or sigmoid; got arcface\. "):
        limits.check(config)


def test_an_unknown_template():
    config = default.get_config()
    config.template = "resnet"
    with pytest.raises(ValueError, match="unknown template 'resnet'; known: inception_batch_norm, resnet_angular_"):
        limits.check(config)


@pytest.mark.parametrize(("epochs", "steps"), [(0, 0), (-1, 0), (20, -1)])
def test_a_training_of_no_length_is_refused(epochs, steps):
    config = default.get_config()
    config.num_epochs, config.total_steps = epochs, steps
    with pytest.raises(ValueError, match=rf"num_epochs is {epochs} and total_steps {steps}: a training takes"):
        limits.check(config)


@pytest.mark.parametrize(("epochs", "steps"), [(1, 0), (0, 1), (0, 100)])
def test_either_of_epochs_and_steps_will_do(epochs, steps):
    config = default.get_config()
    config.num_epochs, config.total_steps = epochs, steps
    limits.check(config)
