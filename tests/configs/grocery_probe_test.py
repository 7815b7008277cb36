"""The probe of groceries sees them as the weights want them."""

from geodesic.configs import grocery_probe, protocols


def test_it_is_the_protocols_data_and_the_weights_pixels():
    config = grocery_probe.get_config()
    protocol = protocols.get("grocery_classification")
    assert (config.train_data.name, config.train_data.classes) == (protocol.train.name, tuple(protocol.train.classes))
    assert config.input.image_size == 160 and config.input.fit == protocol.fit
    assert config.embedder.version == "v1" and tuple(config.input.mean) == (123.68, 116.779, 103.939)
