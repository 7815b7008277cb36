"""The trained loss as a classifier: probabilities of softmax and sigmoid, cosines of margins, heads of public weights.
"""


import numpy as np
import pytest
from scipy.special import expit, softmax

import geodesic
from geodesic import losses
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.trained import classifier, temperature
from tests.experiments import tiny


def trained(folder, loss, **changes):
    config = tiny.config(tiny.faces(folder / "faces", 3, 4), loss__name=loss, total_steps=1, **changes)
    return geodesic.train(config, folder / "run"), str(folder / "faces")


@pytest.mark.parametrize("loss", ["softmax", pytest.param("sigmoid", marks=pytest.mark.slow)])
def test_probabilities_of_the_affine_losses(loss, tmp_path):
    run, faces = trained(tmp_path, loss)
    params = run.classifier.params
    logits = run.embed(faces, normalized=False) @ params["prototypes"].T + params["bias"]
    expected = 1 / (1 + np.exp(-logits)) if loss == "sigmoid" else np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(run.classify(faces), expected, rtol=1e-4, atol=1e-6)
    assert params["prototypes"].shape == (3, 16)  # eight devices have padded it
    named = run.predict(faces, top=2)
    assert [name for (name, _), _ in named] == [run.class_names[place] for place in expected.argmax(axis=1)]
    sure = [[probability for _, probability in row] for row in named]
    np.testing.assert_allclose(sure, -np.sort(-expected, axis=1)[:, :2], rtol=1e-4)


def test_of_a_margin_the_scaled_cosines_are_logits_and_a_fitted_temperature_divides_them(tmp_path):
    run, faces = trained(tmp_path, "arcface")
    cosines = run.classify(faces)
    sure = lambda: [row[0][1] for row in run.predict(faces, top=1)]
    np.testing.assert_allclose(sure(), softmax(16 * cosines, axis=1).max(axis=1), rtol=1e-4)
    assert "cosines to the classes times 16" in run.classifier.describe()
    temperature.save(run.workdir, run.classifier_identity, 4.0, {})
    np.testing.assert_allclose(sure(), softmax(4 * cosines, axis=1).max(axis=1), rtol=1e-4)
    temperature.save(run.workdir, {**run.classifier_identity, "classifier": "another"}, 4.0, {})
    with pytest.raises(geodesic.UserError, match="classifier another there"):
        run.predict(faces)


def test_the_likeliest_classes_come_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    params = {"prototypes": rng.normal(size=(7, 4)).astype(np.float32), "bias": rng.normal(size=7).astype(np.float32)}
    rows = rng.normal(size=(11, 4)).astype(np.float32)
    monkeypatch.setattr(classifier, "_BLOCK", 21)
    logits = rows @ params["prototypes"].T + params["bias"]
    for loss, expected in (("softmax", softmax(logits / 2, axis=1)), ("sigmoid", expit(logits / 2))):
        found = classifier.Classifier(losses.build(loss, num_classes=7), params)
        assert found.rows_at_a_time == 3
        classes, sure = found.top(rows, 3, temperature=2.0)
        np.testing.assert_array_equal(classes, np.argsort(-expected, axis=1)[:, :3])
        np.testing.assert_allclose(sure, -np.sort(-expected, axis=1)[:, :3], rtol=1e-5)
        assert found.top(rows, 99)[0].shape == (11, 7) and found.top(rows[:0], 2)[1].shape == (0, 2)


def test_a_loss_without_classes_is_no_classifier(tmp_path):
    run, faces = trained(tmp_path, "triplet")
    for ask in (run.classify, run.predict):
        with pytest.raises(geodesic.UserError, match="loss 'triplet' has learnt no classes"):
            ask(faces)


def test_imported_weights_without_a_head_are_no_classifier(tmp_path):
    (tmp_path / "weights.json").write_text("{}")
    with pytest.raises(geodesic.UserError, match="holds imported weights of an embedder, and no classifier"):
        classifier.load(str(tmp_path), tiny.config(), 0)


def test_the_head_of_imported_weights_is_a_softmax(tmp_path):
    rng = np.random.default_rng(0)
    head = imported.Head(rng.normal(size=(4, 3)).astype(np.float32), np.float32([0.1, 0.2, 0.3]), ["a", "b", "c"],
                         ["n1", "n2", "n3"])
    imported.save(str(tmp_path), tiny.config(), {"params": {}}, {}, head)
    rows = rng.normal(size=(2, 4)).astype(np.float32)
    found = classifier.load(str(tmp_path), tiny.config(), 0)
    np.testing.assert_allclose(found.predict(rows), softmax(rows @ head.kernel + head.bias, axis=1), rtol=1e-5)
    content = dict(np.load(tmp_path / "head.npz"))
    for name, changed in (("kernel", content["kernel"] + 1), ("class_names", np.array(["b", "a", "c"]))):
        np.savez(tmp_path / "head.npz", **content | {name: changed})
        with pytest.raises(geodesic.UserError, match=r"the classifier in .* is damaged: import the weights again"):
            imported.load_head(str(tmp_path))
