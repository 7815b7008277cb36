"""A loss that is trained on kept features learns what it would learn through a frozen trunk."""

import jax
import numpy as np
import pytest

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments import tasks
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.trained import network
from geodesic.experiments.trained.run import Run
from geodesic.experiments.training import model, on_features, step
from tests.experiments import tiny


def rows(classes=4, each=20, size=8):
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(classes), each)
    return (3 * np.eye(size)[labels] + rng.normal(size=(len(labels), size))).astype(np.float32), labels


@pytest.mark.parametrize("loss", ["softmax", "arcface", "proxy_anchor"])
def test_a_loss_learns(loss):
    values, labels = rows()
    config = tiny.config(loss__name=loss, batch_size=16, total_steps=150, optimizer__name="adamw",
                         optimizer__learning_rate=0.05, optimizer__weight_decay=0.0, schedule__name="constant")
    found = on_features.train(config, values, labels)
    assert found.losses[-5:].mean() < 0.7 * found.losses[:5].mean() and found.losses.shape == (150,)
    assert (found.classifier.scores(values).argmax(axis=1) == labels).mean() > 0.9
    assert found.images_per_second > 0
    again = on_features.train(config, values, labels)
    np.testing.assert_array_equal(found.losses, again.losses)


def test_it_is_the_training_through_a_frozen_trunk(tmp_path):
    """The same batches, the same start of the loss, the same updates: only the trunk is not run again."""
    source = datasets.build("image_folder", path=str(tiny.faces(tmp_path / "faces", 5, 4)))
    config = tiny.config(tmp_path / "faces", loss__name="softmax", total_steps=4, optimizer__name="adamw",
                         optimizer__trunk_learning_rate_factor=0.0, optimizer__learning_rate=0.01,
                         embedder__embedding_size=0, schedule__name="constant")
    for field in ("horizontal_flip", "brightness"):
        config.augment[field] = 0.0
    mesh = meshes.make(jax.devices()[:1])
    built = model.build(config, tasks.get("embedding"), 5, len(source), mesh)
    state, losses = model.init_state(built, mesh), []
    run = Run(str(tmp_path), config, mesh, network.make_embedder(config.embedder),
              model.embedder_variables(state), 0)
    values = run.embed_source(source).embeddings
    batches = datasets.train_batches(source, input=config.input, augment=config.augment, sampling=config.sampling,
                                     batch_size=8, seed=0, process_index=0, process_count=1)
    advance = step.make_train_step(built, mesh)
    for _ in range(4):
        batch = dict(next(batches))
        batch.pop("replaced")
        state, scalars = advance(state, step.put_train_batch(built, mesh, batch))
        losses.append(float(scalars["loss"]))
    batches.close()
    found = on_features.train(config, values, source.labels)
    np.testing.assert_allclose(found.losses, losses, rtol=2e-4)
    for name, learnt in found.classifier.params.items():
        np.testing.assert_allclose(learnt, state.params["loss"][name], rtol=1e-3, atol=2e-5)


def test_what_a_step_has_not_sampled_stays():
    """In the first step sgd moves 6 of 12 classes; the others are where the same seed starts with another loss."""
    values, labels = rows()
    config = tiny.config(batch_size=4, total_steps=1, loss__sample_rate=0.5, loss__sample_update="sampled",
                         schedule__name="constant")
    learnt = on_features.train(config, values, labels, num_classes=12).classifier.params["prototypes"]
    loss = model.make_loss(config, 12, meshes.make(jax.devices()[:1]))
    start, _ = jax.jit(loss.init, static_argnums=1)(network.split(config.seed)[1], 8)
    assert np.any(learnt != np.asarray(start["prototypes"]), axis=1).sum() == 6


def test_what_does_not_fit_is_said():
    values, labels = rows()
    with pytest.raises(UserError, match=r"features of \(80, 8\) and labels of \(79,\)"):
        on_features.train(tiny.config(), values, labels[1:])
