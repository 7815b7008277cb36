"""The bound on what bfloat16 loses, and that a gallery which screens by it finds what one that does not finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.metrics.neighbors import nearest, screen


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e12])
@pytest.mark.parametrize("kind", ["normal", "one sign", "heavy tails", "tiny among large"])
def test_no_product_of_bfloat16_is_off_by_more_than_the_slack(kind, scale):
    rng = np.random.default_rng(3)
    draw = {"normal": rng.standard_normal, "one sign": rng.random,
            "heavy tails": lambda shape: rng.standard_t(1, shape),
            "tiny among large": lambda shape: 10.0 ** rng.integers(-9, 1, shape)}[kind]
    queries, rows = ((draw((count, 96)) * scale).astype(np.float32) for count in (40, 300))
    screened = screen.Screen(jnp.asarray(rows))
    assert screened.rows.dtype == jnp.bfloat16
    coarse = jax.lax.dot_general(jnp.asarray(queries).astype(jnp.bfloat16), screened.rows, (((1,), (1,)), ((), ())),
                                 preferred_element_type=jnp.float32)
    exact = queries.astype(np.float64) @ rows.T.astype(np.float64)
    error = np.abs(np.asarray(coarse, np.float64) - exact).max(axis=1)
    slack = screened.slack(queries)
    assert (error <= slack).all()
    if kind == "normal":
        assert (slack < 0.01 * np.linalg.norm(queries, axis=1) * np.linalg.norm(rows, axis=1).max() + 1e-30).all()


def test_the_slack_is_reached():
    """Every value is almost half a unit above what it is rounded to, so that all errors add up."""
    values = np.full((3, 128), 1 + 0.99 * 2.0**-8, np.float32)
    screened = screen.Screen(jnp.asarray(values))
    assert (np.asarray(screened.rows) == 1).all()
    error = 128 * (float(values[0, 0]) ** 2 - 1)
    slack = screened.slack(values)
    assert (error <= slack).all() and (slack < 1.05 * error).all()


def test_what_bfloat16_cannot_hold_has_no_bound():
    rows = np.full((2, 64), 3.4e38, np.float32)  # rounds to infinity
    assert np.isinf(screen.Screen(jnp.asarray(rows)).slack(rows)).all()
    assert np.isinf(screen.Screen(jnp.ones((2, 64))).slack(rows)).all()


@pytest.fixture
def screening(monkeypatch):
    """Counts how often a block was screened."""
    calls = []
    top_screened = nearest.on_host.top_screened
    monkeypatch.setattr(nearest.on_host, "top_screened", lambda *args: calls.append(args) or top_screened(*args))
    return calls


@pytest.mark.parametrize("k", [1, 10, 100])
def test_a_gallery_that_screens_finds_the_same(screening, k):
    """Twenty clusters, so tight that bfloat16 cannot tell their rows apart."""
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((20, 64)).repeat(30, axis=0) + 0.01 * rng.standard_normal((600, 64))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    rows[[17, 411, 599]] = rows[3]
    exclude = np.arange(600)
    indices, scores = nearest.Gallery(rows, screens=True).top(rows, k, exclude)
    assert len(screening) == 2  # blocks
    expected, reference = nearest.Gallery(rows, screens=False).top(rows, k, exclude)
    assert len(screening) == 2
    np.testing.assert_allclose(scores, reference, atol=1e-6)
    exact = rows.astype(np.float64) @ rows.T.astype(np.float64)
    of = lambda found: np.take_along_axis(exact, found, axis=1)
    np.testing.assert_allclose(of(indices), of(expected), atol=1e-6)  # where they differ, it is by rounding
    if k == 10:
        assert indices[3, :3].tolist() == [17, 411, 599] and indices[411, :3].tolist() == [3, 17, 599]
        coarse = np.asarray(screening[0][0])
        assert (np.argmax(coarse, axis=1) != expected[:512, 0]).any()  # bfloat16 alone would have erred


def test_equal_scores_are_by_index_and_what_is_left_out_stays_out(screening):
    rows = np.sign(np.random.default_rng(5).standard_normal((300, 3))).astype(np.float32)
    exclude = np.tile(np.arange(4, 300), (300, 1))
    for left_out in (np.arange(300), exclude):
        found = nearest.Gallery(rows, screens=True).top(rows, 7, left_out)
        expected = nearest.Gallery(rows, screens=False).top(rows, 7, left_out)
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    assert len(screening) == 2 and (found[0][:, 4:] == -1).all()


def test_values_that_overflow_bfloat16_are_not_screened(screening):
    rows = np.array([[3.4e38, 0.0], [1.0, 1.0], [0.0, 2.0]], np.float32)
    found, _ = nearest.Gallery(rows, screens=True).top(rows[1:], 1)
    assert found.tolist() == [[0], [2]] and not screening
