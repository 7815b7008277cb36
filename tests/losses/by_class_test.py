import jax
import numpy as np
import optax
import pytest

from geodesic import losses
from geodesic.losses import by_class
from tests.losses import cases


def of(tree, answer=losses.is_by_class):
    """Name of each array -> what `answer` says of its path."""
    return {jax.tree_util.keystr(path, simple=True, separator="/"): answer(path, leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_every_parameter_of_every_loss_is_by_class(name):
    """A loss whose parameters were called otherwise would be on every device, whole: the rule would have to know it."""
    params, _ = cases.init(name, 8)
    for path, leaf in jax.tree_util.tree_leaves_with_path({"loss": params}):
        assert losses.is_by_class(path, leaf) and leaf.shape[0] == 16, path


def test_what_the_optimizer_and_the_loss_remember_of_the_classes_is_by_class():
    params = {"embedder": {"neck": {"bias": np.zeros(3)}}, "loss": {"softmax": {"bias": np.zeros(5)}}}
    state = {"opt_state": optax.masked(optax.adam(0.1), {"embedder": False, "loss": True}).init(params),
             "loss_state": {"softmax": {"sampled": {"prototypes": np.zeros(5, bool)}},
                            "adacos": {"scale": np.ones(())}}}
    assert of(state) == {
        "loss_state/softmax/sampled/prototypes": True, "loss_state/adacos/scale": False,
        "opt_state/inner_state/0/count": False, "opt_state/inner_state/0/mu/loss/softmax/bias": True,
        "opt_state/inner_state/0/nu/loss/softmax/bias": True}


def test_a_trunks_arrays_are_not_whatever_they_are_called():
    params = {"embedder": {"prototypes": np.zeros((5, 2)), "loss": {"prototypes": np.zeros((5, 2))}}}
    assert not any(of({"params": params, "batch_stats": params["embedder"]["prototypes"],
                       "opt_state": optax.trace(0.9).init(params)}).values())


def test_a_scalar_has_no_rows():
    assert of({"loss": {"bias": np.zeros(())}}) == {"loss/bias": False}


def test_names_below_the_loss():
    tree = {"params": {"embedder": {"fc": 0}, "loss": {"arcface": {"prototypes": 0}}}, "step": 0}
    assert of(tree, lambda path, _: by_class.names_below_loss(path)) == {
        "params/embedder/fc": (), "params/loss/arcface/prototypes": ("arcface", "prototypes"), "step": ()}
