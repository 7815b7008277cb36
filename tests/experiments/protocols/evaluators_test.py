import contextlib
import types

import jax
import numpy as np
import pytest

from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.protocols import evaluation, evaluators
from geodesic.experiments.training import data
from tests.experiments import tiny


def test_the_names_of_the_scores_are_known_before_there_are_any():
    config = tiny.config()
    found = evaluation.score(np.random.default_rng(0).normal(size=(8, 4)), np.repeat(np.arange(4), 2), config)
    assert {*evaluation.names(config)} == {name for name, value in found.items() if isinstance(value, float)}


@pytest.mark.parametrize(("epochs", "steps"), [(0.0, 0), (0.4, 1), (2.0, 5)])
def test_the_period_is_in_steps(epochs, steps):
    config = tiny.config(evaluation__every_epochs=epochs)
    (evaluator,) = evaluators.evaluators(config, None, None, 2.5)
    assert evaluator.every == steps and evaluator.name == "test"


def test_an_evaluator_scores_the_source(tmp_path):
    config = tiny.config(tiny.faces(tmp_path), evaluation__recall_at=())
    mesh, phases = meshes.make(jax.devices()[:1]), []
    watch = types.SimpleNamespace(patient=lambda name: phases.append(name) or contextlib.nullcontext())
    (evaluator,) = evaluators.evaluators(config, data.test_source(config), mesh, 2.5)
    scores = evaluator.score(lambda _, images: images.astype("float32").mean(axis=(1, 2)), None, watch, lambda _: None)
    assert {*evaluator.known} <= {*scores} and phases == ["scoring"]
    assert evaluator.headline(scores) == f"map@r {scores['map@r']:.3f}  EER {scores['eer']:.3f}"
