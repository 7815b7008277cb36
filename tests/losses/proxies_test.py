import jax
import jax.numpy as jnp
import pytest

from geodesic import losses
from geodesic.losses import proxies
from tests.losses import cases
from tests.losses.goldens import compare


@pytest.mark.parametrize("golden, name, weights, values", [
    ("peer/proxy_anchor", "proxy_anchor", "w", {}),
    ("peer/proxy_nca", "proxy_nca", "w", {"scale": 3.0}),
    ("proxy_nca/others", "proxy_nca", "w", {"scale": 3.0, "denominator": "others"}),
    ("soft_triple", "soft_triple", "centres", {"k": 4}),
])
def test_value_and_gradients_are_those_of_the_definition(golden, name, weights, values):
    compare.check(golden, name, weights=weights, file="pairs", **values)


def test_proxy_nca_of_the_paper_goes_below_zero():
    params = {"prototypes": 1.0 * jnp.eye(3)}
    values = [cases.jit(losses.build("proxy_nca", num_classes=3, scale=4.0, denominator=denominator).apply)(
        params, {}, jnp.eye(3), jnp.arange(3), cases.key())[0] for denominator in ("others", "all")]
    assert values[0] < 0 < values[1]


def test_centres_that_have_merged_have_a_finite_slope():
    merged = jnp.ones((2, 3, 4))
    value, slope = jax.jit(jax.value_and_grad(proxies.centre_distances), static_argnums=1)(merged, 2)
    assert value < 0.01 and jnp.all(jnp.isfinite(slope))


def test_refusals():
    with pytest.raises(ValueError, match="unknown denominator 'other'; known: all, others"):
        losses.build("proxy_nca", num_classes=3, denominator="other")
    with pytest.raises(ValueError, match="at least 1; got 0"):
        losses.build("soft_triple", num_classes=3, k=0)
