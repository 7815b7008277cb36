"""Rankings, clusters and calibration by the packages of requirements-peers.txt."""

import bcubed
import faiss
import numpy as np
import oml
import pytorch_metric_learning
import torch
import torchmetrics
from oml.functional import metrics as open_metrics
from pytorch_metric_learning.utils import accuracy_calculator, inference
from torchmetrics.classification import MulticlassCalibrationError

from tests.metrics.goldens import cases
from tests.metrics.goldens.attempts import attempt

RANKING = ("precision_at_1", "r_precision", "mean_average_precision_at_r", "mean_average_precision")
CLUSTERING = ("NMI", "AMI")


def by_index(query, k, reference, ref_includes_query=False):
    """Neighbours by inner product, ties to the lower index: what the peer's metrics are of our tie rule."""
    products = query.double() @ reference.double().T
    if ref_includes_query:
        products.fill_diagonal_(-torch.inf)
    found = torch.argsort(-products, dim=1, stable=True)[:, :k]
    return torch.gather(products, 1, found), found


def calculator(include, k=None, **functions):
    return accuracy_calculator.AccuracyCalculator(include=include, k=k, device=torch.device("cpu"), **functions)


def pytorch_metric_learning_results() -> dict:
    result = {}
    searches = {"faiss": None, "by_index": by_index}
    for name, (rows, labels) in cases.every_row_a_query().items():
        result |= {f"{name}/rows": rows, f"{name}/labels": labels}
        for search, function in searches.items():
            measure = lambda f=function, given=(rows, labels): calculator(RANKING, knn_func=f).get_accuracy(*given)
            result |= attempt(measure, f"pml/{search}/{name}")
        result |= attempt(lambda rows=rows, labels=labels: clustered(rows, labels), f"pml/clusters/{name}")
    rows, labels = cases.every_row_a_query()["random"]
    result |= attempt(lambda: calculator(RANKING, 3).get_accuracy(rows, labels), "pml/k=3/random")
    rows, labels = cases.several_labels()
    shared = lambda one, other: (one * other).sum(dim=-1) > 0
    result |= {"several/rows": rows, "several/labels": labels} | attempt(lambda: calculator(
        RANKING, label_comparison_fn=shared).get_accuracy(rows, labels), "pml/faiss/several")
    for name, (queries, query_labels, gallery, labels) in cases.query_and_gallery().items():
        result |= {f"gallery/{name}/queries": queries, f"gallery/{name}/query_labels": query_labels,
                   f"gallery/{name}/rows": gallery, f"gallery/{name}/labels": labels}
        for search, function in searches.items():
            result |= attempt(lambda f=function, given=(queries, query_labels, gallery, labels): calculator(
                RANKING, knn_func=f).get_accuracy(*given), f"pml/{search}/gallery/{name}")
    return result


def clustered(rows, labels) -> dict:
    """NMI and AMI of the peer's own k-means, and its clusters."""
    kept = []

    def kmeans(query, count):
        kept.append(inference.FaissKMeans(niter=20)(query, count))
        return kept[0]

    scores = calculator(CLUSTERING, kmeans_func=kmeans).get_accuracy(rows, labels)
    return scores | {"assignment": kept[0].numpy()}


def ranking(queries, gallery, own: bool) -> np.ndarray:
    """Whole rankings i[Q,N], or [Q,N-1] without the query itself; ties to the lower index."""
    query, gallery = torch.tensor(queries), torch.tensor(gallery)
    return by_index(query, len(gallery) - own, gallery, own)[1].numpy()


def open_metric_learning_results() -> dict:
    """Numbers of each query, from relevance in the order of the ranking."""
    result = {}
    given = {name: (rows, labels, rows, labels, True) for name, (rows, labels) in cases.every_row_a_query().items()
             if name not in ("nan", "collapsed")}
    given |= {f"gallery/{name}": (*arrays, False) for name, arrays in cases.query_and_gallery().items()}
    for name, (queries, query_labels, gallery, labels, own) in given.items():
        order = ranking(queries, gallery, own)
        result |= of_relevance(f"oml/{name}", labels[order] == query_labels[:, None])
    result |= {"one_ranking": cases.one_ranking()} | of_relevance("oml/one_ranking", cases.one_ranking())
    far, same = cases.distances()
    rates = (0.0, 0.01, 0.1, 0.25, 0.5, 1.0)
    found = open_metrics.calc_fnmr_at_fmr(far[same], far[~same], rates)
    return result | {"distances": far, "distances/same": same, "fmr": np.array(rates), "oml/fnmr": found.numpy()}


def of_relevance(name: str, relevant: np.ndarray) -> dict:
    tops = [torch.tensor(row) for row in relevant]
    counts = [int(row.sum()) for row in relevant]
    whole = relevant.shape[1]
    table = lambda function, ks: torch.stack(function(tops, counts, ks)).numpy()
    at_r = [open_metrics.calc_precision([top], [count], (max(count, 1),))[0].item()
            for top, count in zip(tops, counts, strict=True)]
    return {f"{name}/cmc": table(open_metrics.calc_cmc, (1, 2, 3, 5, 8)), f"{name}/precision_at_r": np.array(at_r),
            f"{name}/map@5": table(open_metrics.calc_map, (5,))[0],
            f"{name}/map": table(open_metrics.calc_map, (whole,))[0]}


def faiss_results() -> dict:
    result = {}
    given = {name: (rows, rows) for name, (rows, _) in cases.every_row_a_query().items()
             if name in ("random", "ties", "duplicates", "nan", "collapsed")}
    given |= {f"gallery/{name}": (queries, rows) for name, (queries, _, rows, _) in cases.query_and_gallery().items()}
    for name, (queries, rows) in given.items():
        for kind, index in (("ip", faiss.IndexFlatIP(rows.shape[1])), ("l2", faiss.IndexFlatL2(rows.shape[1]))):
            index.add(rows)
            scores, found = index.search(queries, 7)
            _, order = index.search(queries, len(rows))
            key = f"faiss/{kind}/{name}"
            result |= {f"{key}/scores": scores, f"{key}/found": found.astype(np.int16),
                       f"{key}/order": order.astype(np.int16)}
    return result


def bcubed_results() -> dict:
    labels, clusters = cases.clusters()
    classes = {row: {int(label)} for row, label in enumerate(labels)}
    groups = {row: {int(cluster)} for row, cluster in enumerate(clusters)}
    precision, recall = bcubed.precision(groups, classes), bcubed.recall(groups, classes)
    return {"clusters/labels": labels, "clusters/clusters": clusters,
            "bcubed": np.array([precision, recall, bcubed.fscore(precision, recall)])}


def torchmetrics_results() -> dict:
    result = {}
    for name, (values, labels) in cases.probabilities().items():
        for bins in (4, 15):
            metric = MulticlassCalibrationError(values.shape[1], n_bins=bins, norm="l1")
            result[f"torchmetrics/{name}/{bins}"] = metric(torch.tensor(values), torch.tensor(labels)).double().numpy()
        result |= {f"probabilities/{name}": values, f"probabilities/{name}/labels": labels}
    return result


def results() -> dict:
    torch.manual_seed(0)
    modules = (pytorch_metric_learning, oml, faiss, torchmetrics, torch, np)
    versions = [f"{module.__name__} {module.__version__}" for module in modules]
    return {"versions": np.array([*versions, "bcubed 1.5"])} | pytorch_metric_learning_results() | (
        open_metric_learning_results()) | faiss_results() | bcubed_results() | torchmetrics_results()
