import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import heads
from tests.heads import goldens

HEADS, WIDTH, QUERIES = 2, 8, 3


def params() -> dict:
    given = goldens.of("attention_pool")
    biases = np.split(given["in_proj_bias"], 3)
    projections = {name: {"kernel": given[f"{name[0]}_proj_weight"].T.reshape(-1, HEADS, WIDTH // HEADS),
                          "bias": bias.reshape(HEADS, -1)}
                   for name, bias in zip(("query", "key", "value"), biases, strict=True)}
    out = {"kernel": given["out_proj.weight"].T.reshape(HEADS, WIDTH // HEADS, WIDTH), "bias": given["out_proj.bias"]}
    return {"stage4_queries": given["queries"], "stage4_attention": projections | {"out": out}}


def apply(maps):
    head = heads.build("attention_pool", num_queries=QUERIES, num_heads=HEADS, width=WIDTH)
    return head.apply({"params": params()}, {"stage4": maps})


def test_it_is_pytorchs():
    features = goldens.of("attention_pool")["features"]
    assert features.shape == (3, QUERIES * WIDTH)
    np.testing.assert_allclose(apply(goldens.LAYERS["stage4"]), features, rtol=1e-4, atol=1e-6)


def test_it_is_a_set_of_places_that_it_sees():
    maps = jnp.asarray(goldens.LAYERS["stage4"])
    np.testing.assert_allclose(apply(maps[:, ::-1, ::-1]), apply(maps), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(apply(maps.transpose(0, 2, 1, 3)), apply(maps), rtol=1e-4, atol=1e-6)


def test_heads_that_do_not_share_the_width_evenly_are_refused():
    with pytest.raises(ValueError, match="width 8 does not divide into num_heads 3: use a multiple"):
        heads.build("attention_pool", num_heads=3, width=8).apply({}, goldens.LAYERS)
