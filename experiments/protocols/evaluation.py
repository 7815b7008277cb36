"""How good are these embeddings? The protocol of `evaluate`, on embeddings of any origin."""

import numpy as np

from geodesic import datasets
from geodesic.datasets import identity
from geodesic.experiments.process import progress
from geodesic.experiments.trained import embedding, network
from geodesic.experiments.trained.run import Run
from geodesic.experiments.training import data
from geodesic.metrics import retrieval, verification


def score(embeddings: np.ndarray, labels: np.ndarray, config) -> dict[str, float]:
    """Scores retrieval (every image queries all others) and verification (all pairs), by cosine."""
    options = config.evaluation
    unit = retrieval.normalized(embeddings)
    ranking = retrieval.ranking_scores(unit, labels, recall_at=options.recall_at)
    del ranking["map"]  # beside map@r it would be taken for it; the records of the protocols have both
    return ranking | verification.verification_scores(unit, labels, far=options.far)


def names(config) -> tuple[str, ...]:
    """Names the numbers that `score` gives, before there is anything to score."""
    options, none = config.evaluation, np.zeros(0)
    ranking = retrieval.PerQuery(none, none, none, none, none).terms(options.recall_at)
    rates = verification.curve_scores(verification.roc([1.0, 0.0], [True, False]), options.far)
    return tuple(name for name in (*ranking, *rates) if name not in ("map", "unreachable_far"))


def roc(embeddings: np.ndarray, labels: np.ndarray, most: int = 5000) -> verification.Roc:
    """Gives the curve of all pairs of images, by cosine; many pairs are counted at 65,536 thresholds and never held.

    A curve of more than `most` points is thinned to what a plot can show along each of its axes: those that stay are
    exact.
    """
    curve = verification.curve_of_pairs(retrieval.normalized(embeddings), labels)
    points = len(curve.far)
    if points <= most:
        return curve
    rare = np.searchsorted(curve.far, np.geomspace(1 / points, 1, most))  # as on the plot's logarithmic axis
    kept = np.unique(np.minimum(np.concatenate([np.linspace(0, points - 1, most).astype(int), rare]), points - 1))
    return verification.Roc(*(values[kept] for values in curve))


def baselines(run: Run, test: datasets.Source) -> dict[str, np.ndarray]:
    """Embeds the test images without training, by name: by raw pixels, by PCA of the training images, and by the
    network before its first step. Images that cannot be read are left out.

    Without the training images there is no PCA, and a line says so.
    """
    config = run.config
    unseen = pixels(test, config, "reading the test images")
    with progress.bar("embedding without training", len(test)) as advance:
        untrained = run.embed_source(test, advance, variables=network.untrained(run.embedder, config))
    return {"raw pixels": unseen, **_pca(run, unseen), "untrained network": untrained.embeddings[untrained.readable]}


def _pca(run: Run, unseen: np.ndarray) -> dict[str, np.ndarray]:
    from sklearn.decomposition import PCA  # seconds, which a training run can do without

    config, missing = run.config, "the baseline by PCA is left out, as it needs the training images"
    try:
        source = data.train_source(config)
    except OSError as error:
        print(f"{missing}: {error}")
        return {}
    if run.trained_on and run.trained_on["records"] != identity.identity(source)["records"]:
        print(f"{missing}, and {data.describe(config.train_data)} are others now")
        return {}
    seen = pixels(source, config, "reading the training images")
    components = min(config.evaluation.pca_components, *seen.shape)
    fitted = PCA(components, random_state=config.seed).fit(seen)
    return {f"PCA-{components}": fitted.transform(unseen)}


def pixels(source: datasets.Source, config, what: str) -> np.ndarray:
    """Gives images as the trunk sees them, flattened: f32[N, S*S*3]. what: the name of the bar that is shown."""
    rows = []
    with progress.bar(what, len(source)) as advance:
        for batch in datasets.eval_batches(source, input=config.input, batch_size=config.evaluation.batch_size,
                                           process_index=0, process_count=1):
            images = embedding.normalize(batch["image"][batch["mask"]], config.input)
            rows.append(images.reshape(len(images), -1))
            advance(len(images))
    return np.concatenate(rows)
