"""How good are these embeddings? The protocol of `evaluate`, on embeddings of any origin."""

from typing import NamedTuple

import jax
import numpy as np
from sklearn.decomposition import PCA

import datasets
from experiments import data, embedding, model
from experiments import step as steps
from metrics import retrieval, verification


class Pixels(NamedTuple):
    """Images as the trunk sees them, flattened, and their labels."""

    values: np.ndarray  # f32[N, S*S*3]
    labels: np.ndarray  # int[N]


def score(embeddings: np.ndarray, labels: np.ndarray, config) -> dict[str, float]:
    """Retrieval (every image queries all others) and verification (all pairs), by cosine."""
    options = config.evaluation
    unit = retrieval.normalized(embeddings)
    return (retrieval.ranking_scores(unit, labels, recall_at=options.recall_at)
            | verification.verification_scores(unit, labels, far=options.far))


def baselines(config, mesh: jax.sharding.Mesh) -> dict[str, dict]:
    """What the same images score without training: raw pixels, PCA of the training images, the untrained network."""
    train, test = data.train_source(config), data.test_source(config)
    seen, unseen = _pixels(train, config), _pixels(test, config)
    components = min(config.evaluation.pca_components, *seen.values.shape)
    pca = PCA(components, random_state=config.seed).fit(seen.values)
    built = model.build(config, config.loss.num_classes or train.num_classes, len(train), mesh)
    untrained = embedding.embed_source(steps.make_embed_step(built.embedder, config, mesh),
                                       model.embedder_variables(model.init_state(built, config, mesh)), test, config, mesh)
    return {
        "raw pixels": score(unseen.values, unseen.labels, config),
        f"PCA-{components}": score(pca.transform(unseen.values), unseen.labels, config),
        "untrained network": score(untrained.embeddings[untrained.readable], unseen.labels, config),
    }


def _pixels(source: datasets.Source, config) -> Pixels:
    batches = datasets.eval_batches(source, config, batch_size=config.evaluation.batch_size, process_index=0, process_count=1)
    values, labels = [], []
    for batch in batches:
        images = batch["image"][batch["mask"]].astype(np.float32)
        images = (images - np.float32(config.input.mean)) / np.float32(config.input.std)
        values.append(images.reshape(len(images), -1))
        labels.append(batch["label"][batch["mask"]])
    return Pixels(np.concatenate(values), np.concatenate(labels))
