import jax
import pytest
from jax import export
from jax.errors import InconclusiveDimensionOperation

from geodesic.embedders import inception_bn


def pooled(sizes: str) -> str:
    images = jax.ShapeDtypeStruct(export.symbolic_shape(sizes), "float32")
    return str(jax.eval_shape(lambda x: inception_bn.max_pool_up(x, "native", odd=(1, 1)), images).shape)


def test_the_padding_of_a_side_that_may_be_odd_is_not_guessed():
    assert pooled("b, 4*h, 2*w, 5") == "(b, 2*h, w, 5)"
    with pytest.raises(InconclusiveDimensionOperation):
        pooled("b, 4*h, w, 5")
