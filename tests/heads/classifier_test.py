import jax
import numpy as np

from geodesic import heads
from geodesic.embedders.public_weights import pretrained


def test_a_public_classifiers_head_gives_its_logits():
    """fc.weight [C,F] and fc.bias [C] of a torchvision state dict: logits are x W^T + b."""
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(7, 512)).astype(np.float32), rng.normal(size=7).astype(np.float32)
    names = {"conv1.weight": np.zeros((64, 3, 7, 7), np.float32), "bn1.weight": np.ones(64, np.float32),
             "layer1.0.conv1.weight": np.zeros((64, 64, 3, 3), np.float32)}
    params = pretrained.convert_head(names | {"fc.weight": weight, "fc.bias": bias}, "resnet18")
    features = rng.normal(size=(3, 512)).astype(np.float32)
    logits = heads.Classifier(num_classes=7).apply({"params": params}, features)
    np.testing.assert_allclose(logits, features @ weight.T + bias, rtol=1e-4, atol=1e-4)


def test_its_own_parameters_have_the_same_shapes():
    params = heads.Classifier(num_classes=7).init(jax.random.key(0), np.zeros((2, 5)))["params"]
    assert {name: value.shape for name, value in params.items()} == {"kernel": (5, 7), "bias": (7,)}
