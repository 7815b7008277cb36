"""The trained loss as a classifier: probabilities of softmax and sigmoid, cosines of margins."""

import types

import numpy as np
import pytest

import geodesic
from geodesic.experiments import train
from geodesic.experiments.trained import classifier
from tests.experiments import tiny


def trained(folder, loss, **changes):
    config = tiny.config(tiny.faces(folder / "faces", 3, 4), loss__name=loss, total_steps=1, **changes)
    train.train(config, str(folder / "run"), types.SimpleNamespace(received=0))
    return geodesic.load(folder / "run"), str(folder / "faces")


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_probabilities_of_the_affine_losses(loss, tmp_path):
    run, faces = trained(tmp_path, loss)
    params = run.classifier.params
    logits = run.embed(faces, normalized=False) @ params["prototypes"].T + params["bias"]
    expected = 1 / (1 + np.exp(-logits)) if loss == "sigmoid" else np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(run.classify(faces), expected, rtol=1e-4, atol=1e-6)
    assert params["prototypes"].shape == (3, 16)  # eight devices have padded it


def test_a_loss_without_classes_is_no_classifier(tmp_path):
    run, faces = trained(tmp_path, "triplet")
    with pytest.raises(geodesic.UserError, match="loss 'triplet' has learnt no classes"):
        run.classify(faces)


def test_imported_weights_are_no_classifier(tmp_path):
    (tmp_path / "weights.json").write_text("{}")
    with pytest.raises(geodesic.UserError, match="holds imported weights of an embedder, and no classifier"):
        classifier.load(str(tmp_path), tiny.config(), 0)
