import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import heads
from tests.heads import goldens


def cell(given: dict, gates: str, suffix: str) -> dict:
    """PyTorch's weights of one direction, whose rows are the gates in this order, as those of flax's cells.

    PyTorch has two biases for each gate. Where they are added, flax has one: of the state in an LSTM, of the input in a
    GRU but for its gate n.
    """
    parts = {kind: np.split(given[f"{kind}_l0{suffix}"], len(gates))
             for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    params = {}
    for place, gate in enumerate(gates):
        of_input, of_state = ({"kernel": parts[kind][place].T} for kind in ("weight_ih", "weight_hh"))
        bias_i, bias_h = parts["bias_ih"][place], parts["bias_hh"][place]
        if gates == "ifgo":
            of_state["bias"] = bias_i + bias_h
        elif gate == "n":
            of_input["bias"], of_state["bias"] = bias_i, bias_h
        else:
            of_input["bias"] = bias_i + bias_h
        params |= {f"i{gate}": of_input, f"h{gate}": of_state}
    return params


@pytest.mark.parametrize(("kind", "gates"), [("gru", "rzn"), ("lstm", "ifgo")])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_it_is_pytorchs(kind, gates, bidirectional):
    given = goldens.of(kind)
    params = {"stage4_down": cell(given, gates, ""), "stage4_up": cell(given, gates, "_reverse")}
    head = heads.build("recurrent", cell=kind, hidden_size=5, bidirectional=bidirectional)
    if not bidirectional:
        params.pop("stage4_up")
    expected = given["features"] if bidirectional else given["features"][:, :5]
    np.testing.assert_allclose(head.apply({"params": params}, goldens.LAYERS), expected, rtol=1e-4, atol=1e-6)


def test_the_order_of_rows_counts_and_that_of_columns_does_not():
    head = heads.build("recurrent", hidden_size=5)
    params = {"params": {"stage4_down": cell(goldens.of("gru"), "rzn", "")}}
    maps = jnp.asarray(goldens.LAYERS["stage4"])
    plain, columns, rows = (head.apply(params, {"stage4": x}) for x in (maps, maps[:, :, ::-1], maps[:, ::-1]))
    np.testing.assert_allclose(columns, plain, rtol=1e-5, atol=1e-6)
    assert float(jnp.abs(rows - plain).max()) > 0.05


def test_parameters_do_not_depend_on_the_size_of_the_map():
    head = heads.build("recurrent", cell="lstm", hidden_size=5)
    shapes = [jax.tree.map(jnp.shape, jax.eval_shape(head.init, jax.random.key(0), {"stage4": jnp.ones((2, *size, 3))}))
              for size in ((2, 7), (9, 4))]
    assert shapes[0] == shapes[1]
