"""How good are these embeddings? The protocol of `evaluate`, on embeddings of any origin."""

import jax
import numpy as np

from geodesic import datasets
from geodesic.experiments.trained import embedding
from geodesic.experiments.training import data, model
from geodesic.experiments.training import step as steps
from geodesic.metrics import retrieval, verification

# Of a stored ROC, along each of its axes.
_POINTS = 5000


def score(embeddings: np.ndarray, labels: np.ndarray, config) -> dict[str, float]:
    """Retrieval (every image queries all others) and verification (all pairs), by cosine."""
    options = config.evaluation
    unit = retrieval.normalized(embeddings)
    ranking = retrieval.ranking_scores(unit, labels, recall_at=options.recall_at)
    del ranking["map"]  # beside map@r it would be taken for it; the records of the protocols have both
    return ranking | verification.verification_scores(unit, labels, far=options.far)


def roc(embeddings: np.ndarray, labels: np.ndarray) -> verification.Roc:
    """Of all pairs of images, by cosine; of many, at 65,536 thresholds, and the pairs are counted, never held.

    A curve of more points is thinned to what a plot can show: those that stay are exact.
    """
    curve = verification.curve_of_pairs(retrieval.normalized(embeddings), labels)
    points = len(curve.far)
    if points <= _POINTS:
        return curve
    rare = np.searchsorted(curve.far, np.geomspace(1 / points, 1, _POINTS))  # as on the plot's logarithmic axis
    kept = np.unique(np.minimum(np.concatenate([np.linspace(0, points - 1, _POINTS).astype(int), rare]), points - 1))
    return verification.Roc(*(values[kept] for values in curve))


def baselines(config, mesh: jax.sharding.Mesh) -> dict[str, np.ndarray]:
    """Embeddings of the test images that need no training, by name: raw pixels, PCA of the training images, and the
    network before its first step. Images that cannot be read are left out.
    """
    from sklearn.decomposition import PCA  # seconds, which a training run can do without

    train, test = data.train_source(config), data.test_source(config)
    seen, unseen = _pixels(train, config), _pixels(test, config)
    components = min(config.evaluation.pca_components, *seen.shape)
    built = model.build(config, config.loss.num_classes or train.num_classes, len(train), mesh)
    untrained = embedding.embed_source(steps.make_embed_step(built.embedder, config, mesh),
                                       model.embedder_variables(model.init_state(built, config, mesh)),
                                       test, config, mesh)
    return {
        "raw pixels": unseen,
        f"PCA-{components}": PCA(components, random_state=config.seed).fit(seen).transform(unseen),
        "untrained network": untrained.embeddings[untrained.readable],
    }


def _pixels(source: datasets.Source, config) -> np.ndarray:
    """f32[N, S*S*3]: images as the trunk sees them, flattened."""
    rows = []
    for batch in datasets.eval_batches(source, config, batch_size=config.evaluation.batch_size,
                                       process_index=0, process_count=1):
        images = batch["image"][batch["mask"]].astype(np.float32)
        images = (images - np.float32(config.input.mean)) / np.float32(config.input.std)
        rows.append(images.reshape(len(images), -1))
    return np.concatenate(rows)
