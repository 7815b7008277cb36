"""The torch side of benchmarks/margin_head.py."""

import math
from collections.abc import Callable

import numpy as np

NAMES = ("torch, plain", "torch, partial_fc")


def steps(prototypes: np.ndarray, embeddings: np.ndarray, labels: np.ndarray, scale: float, margin: float,
          sample_rate: float) -> dict[str, Callable[[], float]]:
    """Name -> one step: the loss, after its gradients."""
    import torch
    from torch.nn import functional

    device = "cuda" if torch.cuda.is_available() else "cpu"
    weight = torch.from_numpy(prototypes).clone().to(device).requires_grad_()
    features = torch.from_numpy(embeddings).clone().to(device).requires_grad_()
    targets = torch.from_numpy(labels.astype(np.int64)).to(device)

    def loss(features, weight, targets):
        cosine = functional.linear(functional.normalize(features), functional.normalize(weight))
        rows = torch.arange(len(targets), device=device)
        own = cosine[rows, targets]
        sine = (1 - own ** 2).clamp(min=1e-12).sqrt()
        moved = torch.where(own > math.cos(math.pi - margin), own * math.cos(margin) - sine * math.sin(margin),
                            own - margin * math.sin(margin))
        logits = cosine.index_put((rows, targets), moved)
        return functional.cross_entropy(scale * logits, targets)

    def plain():
        weight.grad = features.grad = None
        value = loss(features, weight, targets)
        value.backward()
        return value.item()

    def partial_fc():
        """An et al. 2022, as in arcface_torch: the batch's classes, then random ones; these rows are written back."""
        features.grad = None
        with torch.no_grad():
            priority = torch.rand(len(weight), device=device)
            priority[targets.unique()] = 2.0
            index = priority.topk(int(sample_rate * len(weight))).indices.sort().values
            activated = weight[index]
        activated.requires_grad_()
        value = loss(features, activated, torch.searchsorted(index, targets))
        value.backward()
        with torch.no_grad():
            weight[index] = activated
        return value.item()

    return dict(zip(NAMES, (plain, partial_fc), strict=True))
