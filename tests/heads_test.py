"""All heads: what they give, what they refuse, and a training step of each under losses of three kinds."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import geodesic
from geodesic import embedders, heads
from geodesic.configs import default
from geodesic.embedders.embedder import Embedder
from geodesic.experiments import train
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training import model, step
from tests.experiments import tiny


class OneConvolution(Embedder):
    """The least trunk: what is tested is above it."""

    layer: str = "maps"

    def trunk(self, images, train):
        maps = self.conv()(6, 3, 4, name="conv1")(images)
        return {"maps": maps, "others": jnp.tanh(maps[:, ::2, ::2])}


@pytest.fixture(autouse=True)
def one_convolution(monkeypatch):
    """The trunk by its name, for as long as a test lasts."""
    monkeypatch.setitem(embedders.EMBEDDERS, "one_convolution", OneConvolution)


SMALL = {
    "linear": {"size": 7},
    "mlp": {"hidden_sizes": (9, 8), "size": 7},
    "conv": {"channels": (5, 4), "size": 7},
    "recurrent": {"cell": "lstm", "hidden_size": 5, "size": 7},
    "attention_pool": {"num_queries": 2, "num_heads": 2, "width": 8, "size": 7},
}
# D without a last dense layer, of layers with 3 and 4 channels.
WITHOUT = {"linear": 7, "mlp": 8, "conv": 8, "recurrent": 10, "attention_pool": 32}
LAYERS = {name: np.random.default_rng(channels).standard_normal((2, 3, 5, channels), np.float32)
          for name, channels in (("a/b", 3), ("c", 4))}


def configured(name: str, **changes):
    config = tiny.config(**{"embedder__name": "one_convolution", "head__name": name, "head__layers": ("maps", "others"),
                            **changes})
    config.head[name].update(SMALL[name])
    return config


@pytest.mark.parametrize("name", heads.HEADS)
def test_every_parameter_learns_and_everything_is_float32(name):
    head = heads.build(name, **SMALL[name])
    half = {layer: jnp.asarray(maps, jnp.bfloat16) for layer, maps in LAYERS.items()}

    def learnt(rng):
        features, variables = head.init_with_output(rng, half)
        loss = lambda params: jnp.sum(jnp.sin(head.apply({"params": params}, half, train=True)))
        return features, variables["params"], jax.grad(loss)(variables["params"])

    features, params, gradient = jax.jit(learnt)(jax.random.key(0))
    assert features.shape == (2, 7)
    assert {leaf.dtype for leaf in jax.tree.leaves((features, params, gradient))} == {jnp.dtype("float32")}
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        # A bias of the keys moves all weights of the attention alike, which changes nothing.
        if "['key']['bias']" not in jax.tree_util.keystr(path):
            assert np.isfinite(leaf).all() and np.any(leaf), jax.tree_util.keystr(path)
    assert not [path for path, _ in jax.tree_util.tree_leaves_with_path(params) if "/" in jax.tree_util.keystr(path)]


@pytest.mark.parametrize("name", heads.HEADS)
def test_without_a_size_there_is_no_last_dense_layer(name):
    head = heads.build(name, **SMALL[name] | {"size": 0})
    features, variables = jax.eval_shape(head.init_with_output, jax.random.key(0), LAYERS)
    assert features.shape == (2, WITHOUT[name]) and "fc" not in variables.get("params", {})


@pytest.mark.parametrize("name", heads.HEADS)
def test_dropout_is_of_training_alone(name):
    head, plain = (heads.build(name, **SMALL[name] | {"size": 0, "dropout": share}) for share in (0.5, 0.0))

    def three(rng):
        variables = head.init(rng, LAYERS)
        return (head.apply(variables, LAYERS), plain.apply(variables, LAYERS),
                head.apply(variables, LAYERS, train=True, rngs={"dropout": rng}))

    evaluated, without, trained = jax.jit(three)(jax.random.key(0))
    np.testing.assert_array_equal(evaluated, without)
    assert 0.2 < np.mean(np.asarray(trained)[np.asarray(evaluated) != 0] == 0) < 0.8


@pytest.mark.parametrize("name", ["conv", "recurrent", "attention_pool"])
def test_a_head_that_takes_maps_refuses_a_vector(name):
    message = rf"head '{name}' takes maps \[B,H,W,C\], and layer 'pool' is \[2, 4\]: give it a layer with a map"
    with pytest.raises(ValueError, match=message):
        heads.build(name).init(jax.random.key(0), LAYERS | {"pool": np.zeros((2, 4), np.float32)})


@pytest.mark.parametrize(("name", "fields", "message"), [
    ("transformer", {}, "unknown head 'transformer'; known: linear, mlp, conv, recurrent, attention_pool"),
    ("mlp", {"hidden": 3}, "head 'mlp' has no field 'hidden'; it has hidden_sizes, activation, dropout, size"),
    ("mlp", {"activation": "swish"}, "activation is one of relu, gelu, silu, tanh; got 'swish'"),
    ("recurrent", {"cell": "rnn"}, "cell is one of gru, lstm; got 'rnn'"),
    ("linear", {"dropout": 1.0}, "dropout is a share, 0 <= dropout < 1; got 1.0"),
    ("linear", {"size": -1}, "size is 0 or more; got -1"),
    ("mlp", {"hidden_sizes": ()}, r"hidden_sizes is 1 or more; got \(\)"),
    ("conv", {"channels": (8, 0)}, r"channels is 1 or more; got \(8, 0\)"),
    ("attention_pool", {"num_queries": 0}, "num_queries is 1 or more; got 0"),
])
def test_what_cannot_be_built(name, fields, message):
    with pytest.raises(ValueError, match=message):
        heads.build(name, **fields)


@pytest.mark.parametrize("name", heads.HEADS)
def test_the_configuration_has_every_field_with_its_default(name):
    head = heads.build(name)
    assert dict(default.get_config().head[name]) == {
        key: getattr(head, key) for key in head.__dataclass_fields__ if key not in ("parent", "name")}


def two_steps(config, devices: int):
    """(losses, parameters on the host) after two steps."""
    built, mesh = tiny.built(config, jax.devices()[:devices])
    state, train_step, losses = model.init_state(built, mesh), step.make_train_step(built, mesh), []
    for index in range(2):
        state, scalars = train_step(state, step.put_train_batch(built, mesh, tiny.batch(8, seed=index)))
        losses.append(float(scalars["loss"]))
    return losses, jax.device_get(state.params)


_PAIRS = (("mlp", "arcface"), ("conv", "sigmoid"), ("recurrent", "softmax"))  # in the default suite


@pytest.mark.parametrize("devices", [8, *(pytest.param(number, marks=pytest.mark.slow) for number in (2, 4))])
@pytest.mark.parametrize(("name", "loss"), [
    pytest.param(name, loss, marks=[] if (name, loss) in _PAIRS else [pytest.mark.slow])
    for name in heads.HEADS for loss in ("softmax", "sigmoid", "arcface")])
def test_many_devices_equal_one(name, loss, devices):
    """The trunk learns too; 5 classes do not divide by the devices, and rows past them are padding."""
    config = configured(name, loss__name=loss, optimizer__learning_rate=0.05, head__layers=())
    losses_1, params_1 = two_steps(config, 1)
    losses, params = two_steps(config, devices)
    assert losses == pytest.approx(losses_1, rel=1e-4) and np.isfinite(losses).all()
    for (path, ours), theirs in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(params_1),
                                    strict=True):
        np.testing.assert_allclose(ours[:len(theirs)], theirs, rtol=2e-3, atol=2e-5,
                                   err_msg=jax.tree_util.keystr(path))
    assert {"conv1", "head"} == set(params["embedder"])


@pytest.mark.parametrize("name", ["linear", "recurrent"])
def test_below_a_head_a_trunk_can_be_frozen(name):
    config = configured(name, loss__name="softmax", optimizer__trunk_learning_rate_factor=0.0)
    config.head.linear.size = 0  # all that learns is then the loss's
    built, mesh = tiny.built(config, jax.devices()[:2])
    state = model.init_state(built, mesh)
    before = jax.device_get(state.params)
    state, scalars = step.make_train_step(built, mesh)(state, step.put_train_batch(built, mesh, tiny.batch()))
    after = jax.device_get(state.params)
    unmoved = jax.tree.map(np.array_equal, before, after)
    assert scalars["finite"] and unmoved["embedder"].pop("conv1")["kernel"]
    assert set(unmoved["embedder"]) == (set() if name == "linear" else {"head"})
    assert not any(jax.tree.leaves(unmoved["embedder"])) and not all(jax.tree.leaves(unmoved["loss"]))


class StopAfter:
    """A stop signal that arrives at the n-th time it is asked for."""

    def __init__(self, calls: int):
        self.calls = calls

    @property
    def received(self):
        self.calls -= 1
        return signal.SIGTERM if self.calls <= 0 else None


@pytest.mark.slow
def test_a_run_with_a_head_is_kept_and_loaded(tmp_path, monkeypatch):
    """Trained, loaded, embedded, classified; stopped and restored, it ends with the same bits."""
    mesh = meshes.make(jax.devices()[:2])
    monkeypatch.setattr(meshes, "make", lambda devices=None: mesh)
    config = configured("recurrent", task="classification", loss__name="softmax", total_steps=3,
                        head__recurrent__dropout=0.3)
    config.train_data.path = config.test_data.path = str(tiny.faces(tmp_path / "faces", 5, 4))
    assert train.train(config, str(tmp_path / "run")) == 0
    run = geodesic.load(str(tmp_path / "run"))
    assert set(run.variables["params"]) == {"conv1", "head"} and run.embedding_size == 7
    assert run.layers == {"maps": (4, 4, 6), "others": (2, 2, 6), "embedding": (7,)}
    photos = sorted(str(path) for path in (tmp_path / "faces").rglob("*.jpg"))
    found = run.embed(photos, normalized=False)
    maps = {layer: run.features(photos, layer) for layer in ("maps", "others")}
    head = heads.build("recurrent", **SMALL["recurrent"])
    np.testing.assert_allclose(head.apply({"params": run.variables["params"]["head"]}, maps), found, rtol=1e-4,
                               atol=1e-5)
    scores = run.classify(photos)
    assert scores.shape == (20, 5)
    assert train.train(config, str(tmp_path / "parts"), StopAfter(2)) == 128 + signal.SIGTERM
    assert train.train(config, str(tmp_path / "parts")) == 0
    parts = geodesic.load(str(tmp_path / "parts"))
    assert parts.digest == run.digest
    np.testing.assert_array_equal(parts.classify(photos), scores)


@pytest.mark.parametrize(("changes", "message"), [
    ({"head__layers": ("stage9",)}, "no layer 'stage9'; this embedder has maps, others"),
    ({"head__name": "mpl"}, "unknown head 'mpl'; known: linear, mlp"),
    ({"head__name": ""}, r"head\.layers \('maps', 'others'\) are of no head: give --config\.head\.name"),
    ({"head__mlp__activation": "swish"}, "activation is one of relu, gelu, silu, tanh; got 'swish'"),
    ({"embedder__pooling": "max", "embedder__neck": "linear"}, "head 'mlp' takes the place of pooling and neck, and "
     "config.embedder has pooling=max, neck=linear"),
])
def test_a_wrong_request_is_refused_before_anything_is_written(changes, message, tmp_path):
    faces = tiny.faces(tmp_path / "faces")
    config = configured("mlp", train_data__path=str(faces), test_data__path=str(faces), **changes)
    with pytest.raises(geodesic.UserError, match=message):
        train.train(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
