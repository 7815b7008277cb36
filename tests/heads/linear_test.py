import numpy as np

from geodesic import heads

RNG = np.random.default_rng(0)
LAYERS = {"stage4": RNG.standard_normal((2, 3, 3, 4), np.float32), "pool": RNG.standard_normal((2, 5), np.float32)}
POOLED = np.concatenate([LAYERS["pool"], LAYERS["stage4"].mean((1, 2))], axis=1)


def test_without_a_size_it_is_the_pooled_layers_by_name_and_has_no_parameters():
    np.testing.assert_allclose(heads.build("linear").apply({}, LAYERS), POOLED, rtol=1e-5, atol=1e-6)


def test_with_a_size_it_is_one_dense_layer():
    kernel, bias = RNG.standard_normal((9, 3), np.float32), np.float32([1, 2, 3])
    found = heads.build("linear", size=3).apply({"params": {"fc": {"kernel": kernel, "bias": bias}}}, LAYERS)
    np.testing.assert_allclose(found, POOLED @ kernel + bias, rtol=1e-4, atol=1e-5)
