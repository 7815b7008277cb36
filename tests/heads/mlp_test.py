import numpy as np

from geodesic import heads
from tests.heads import goldens


def test_it_is_pytorchs():
    given = goldens.of("mlp")
    params = {ours: goldens.dense(given, theirs) for ours, theirs in (("hidden1", "0"), ("hidden2", "2"), ("fc", "4"))}
    found = heads.build("mlp", hidden_sizes=(7, 4), activation="gelu", size=2).apply({"params": params}, goldens.LAYERS)
    np.testing.assert_allclose(found, given["features"], rtol=1e-4, atol=1e-6)
