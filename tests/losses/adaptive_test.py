import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import losses
from geodesic.losses import adaptive
from tests.losses import cases
from tests.losses.goldens import assert_close, compare


def test_curricularface_is_the_public_definition():
    state = compare.check("curricularface", "curricularface", scale=compare.SCALE, state={"t": 0.3})
    assert_close(state["t"], compare.arrays()["curricularface/t"])


def test_adaface_is_the_public_definition():
    state = compare.check("adaface", "adaface", scale=compare.SCALE, state={"mean": 20.0, "std": 100.0})
    assert_close(state["mean"], compare.arrays()["adaface/mean"])
    assert_close(state["std"], compare.arrays()["adaface/std"])


@pytest.mark.parametrize("easy_margin", [True, False])
def test_magface_is_the_public_definition(easy_margin):
    golden = "magface/easy" if easy_margin else "magface/fallback"
    compare.check(golden, "magface", scale=compare.SCALE, easy_margin=easy_margin)


def test_adacos_is_the_public_definition():
    start = math.sqrt(2) * math.log(compare.CLASSES - 1)
    state = compare.check("adacos", "adacos", state={"scale": start})
    assert_close(state["scale"], compare.arrays()["adacos/scale"])


def test_fixed_adacos_is_normface_with_its_scale():
    embeddings, labels = cases.batch()
    params, _ = cases.init("normface")
    value = lambda name, **values: float(cases.applied(name, **values)(
        params, {}, embeddings, labels, cases.key())[0])
    expected = value("normface", scale=math.sqrt(2) * math.log(cases.CLASSES - 1))
    assert value("adacos", dynamic=False) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="at least 3 classes"):
        losses.build("adacos", num_classes=2)


@pytest.mark.parametrize("kind, plain, mean", [("arc", "arcface", 0.5), ("cos", "cosface", 0.35)])
def test_elasticface_without_deviation_is_its_plain_loss(kind, plain, mean):
    embeddings, labels = cases.batch()
    params, _ = cases.init("normface")
    gradient = {"gradient": "full"} if kind == "arc" else {}
    value = lambda name, **values: float(cases.applied(name, **values)(
        params, {}, embeddings, labels, cases.key())[0])
    assert value("elasticface", kind=kind, std=0.0) == pytest.approx(value(plain, margin=mean, **gradient), rel=1e-6)


def test_elastic_margins_have_their_distribution():
    cosine = jax.random.uniform(cases.key(), (4000,), minval=-1)
    for plus in False, True:
        margins = adaptive.elastic_margins(cases.key(1), cosine, 0.5, 0.05, plus)
        assert float(jnp.mean(margins)) == pytest.approx(0.5, abs=5 * 0.05 / math.sqrt(4000))
        assert float(jnp.std(margins)) == pytest.approx(0.05, rel=0.06)


def test_plus_gives_larger_margins_to_smaller_cosines():
    """The published code sorts by the inverse permutation, so that margins and cosines are unrelated."""
    cosine = jax.random.uniform(cases.key(), (500,), minval=-1)
    margins = adaptive.elastic_margins(cases.key(1), cosine, 0.5, 0.0175, plus=True)
    assert np.all(np.diff(np.asarray(margins)[np.argsort(cosine)]) <= 0)
    assert np.corrcoef(margins, cosine)[0, 1] < -0.9
    published = jnp.sort(adaptive.elastic_margins(cases.key(1), cosine, 0.5, 0.0175, plus=False))[jnp.argsort(-cosine)]
    assert abs(np.corrcoef(published, cosine)[0, 1]) < 0.2
    plain = adaptive.elastic_margins(cases.key(1), cosine, 0.5, 0.0175, plus=False)
    assert abs(np.corrcoef(plain, cosine)[0, 1]) < 0.2
    with pytest.raises(ValueError, match="unknown kind 'tan'"):
        losses.build("elasticface", num_classes=3, kind="tan")


def test_statistics_follow_their_batches():
    """Running values approach the batch's at their rate, and t the mean cosine."""
    embeddings, labels = cases.batch(length=30.0)
    params, state = cases.init("adaface")
    step = cases.compiled("adaface")
    norm = np.linalg.norm(embeddings, axis=1).clip(1e-3, 100)
    for count in range(1, 4):
        (_, (state, _)), _ = step(params, state, embeddings, labels, cases.key())
        left = 0.99**count
        assert float(state["mean"]) == pytest.approx(left * 20 + (1 - left) * norm.mean(), rel=1e-5)
        assert float(state["std"]) == pytest.approx(left * 100 + (1 - left) * norm.std(ddof=1), rel=1e-5)
