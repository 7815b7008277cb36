"""Writes margins.npz: class losses by their public definitions, in float64, with torch's automatic gradients.

    python -m tests.losses.goldens.margins

"peer/..." entries are computed by pytorch-metric-learning itself, its hyper-parameters matched.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_metric_learning import losses as peer

from tests.losses.goldens import FOLDER
from tests.losses.goldens.recording import RESULTS, record

BATCH, CLASSES, SIZE, SCALE, CENTRES = 8, 7, 5, 16.0, 3


def inputs():
    """Cosines to the own prototype from nearly 1 to nearly -1, norms from 2 to 130; class 6 has no example."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(CLASSES, SIZE))
    labels = np.array([0, 1, 2, 3, 4, 5, 0, 2])
    noise = rng.normal(size=(BATCH, SIZE))
    own = w[labels] / np.linalg.norm(w[labels], axis=1, keepdims=True)
    x = own * np.array([5, 1, 0.3, 0, -0.3, -1, -4, 2])[:, None] + 0.6 * noise
    x *= np.array([2, 8, 12, 20, 40, 70, 90, 130])[:, None] / np.linalg.norm(x, axis=1, keepdims=True)
    sub = rng.normal(size=(CLASSES, CENTRES, SIZE))
    multi_hot = rng.random((BATCH, CLASSES)) < 0.4
    return {"x": x.astype(np.float32), "w": w.astype(np.float32), "labels": labels.astype(np.int32),
            "sub": sub.astype(np.float32), "bias": rng.normal(size=CLASSES).astype(np.float32),
            "multi_hot": multi_hot.astype(np.int32)}


def cosines(x, w):
    return F.normalize(x, dim=-1) @ F.normalize(w, dim=-1).transpose(-1, -2)


def with_target(cos, y, target, others=None):
    """Mean cross-entropy with logits `others`, and `target` at the label."""
    own = F.one_hot(y, cos.shape[1]).bool()
    logits = torch.where(own, target[:, None], cos if others is None else others)
    return F.cross_entropy(SCALE * logits, y)


def of(cos, y):
    return cos.gather(1, y[:, None])[:, 0]


def arcface(gradient, m=0.5):
    def target(c):
        theta = torch.acos(c)
        full = torch.cos(theta + m)
        return {"full": lambda: full,
                "fallback": lambda: torch.where(c > math.cos(math.pi - m), full, c - m * math.sin(math.pi - m)),
                "easy": lambda: torch.where(c > 0, full, c),
                "detached": lambda: c + (full - c).detach(),
                "clip": lambda: torch.cos(torch.clamp(theta + m, 1e-3, math.pi - 1e-3))}[gradient]()
    return target


def margin_losses(x, w, y):
    simple = lambda target: lambda x, w: with_target(cosines(x, w), y, target(of(cosines(x, w), y)))
    record("normface", simple(lambda c: c), x, w)
    record("cosface", simple(lambda c: c - 0.4), x, w)
    for gradient in ("full", "fallback", "easy", "detached", "clip"):
        record(f"arcface/{gradient}", simple(arcface(gradient)), x, w)

    def sphere(c):
        angle = 1.35 * torch.acos(c)
        k = torch.floor(angle / math.pi)
        return (-1.0) ** k * torch.cos(angle) - 2 * k

    record("sphereface", simple(sphere), x, w)
    record("combined", simple(lambda c: torch.cos(0.9 * torch.acos(c) + 0.4) - 0.15), x, w)

    def filtered(x, w):
        cos = cosines(x, w)
        return with_target(cos, y, arcface("fallback")(of(cos, y)), torch.where(cos > 0.4, torch.zeros_like(cos), cos))

    record("filtered", filtered, x, w)


def curricular(y, t):
    def loss(x, w):
        cos = cosines(x, w)
        c = of(cos, y)
        margin = torch.cos(torch.acos(c) + 0.5)
        new_t = 0.01 * c.mean().detach() + 0.99 * t
        RESULTS["curricularface/t"] = new_t.numpy()
        hard = cos > margin[:, None]
        return with_target(cos, y, arcface("fallback")(c), torch.where(hard, cos * (new_t + cos), cos))
    return loss


def ada(y, mean, std):
    def loss(x, w):
        cos = cosines(x, w)
        norm = x.norm(dim=1).clamp(0.001, 100).detach()
        new_mean, new_std = 0.01 * norm.mean() + 0.99 * mean, 0.01 * norm.std() + 0.99 * std
        RESULTS["adaface/mean"], RESULTS["adaface/std"] = new_mean.numpy(), new_std.numpy()
        z = ((norm - new_mean) / (new_std + 1e-3) * 0.333).clamp(-1, 1)
        angle = (torch.acos(of(cos, y)) - 0.4 * z).clamp(1e-3, math.pi - 1e-3)
        return with_target(cos, y, torch.cos(angle) - (0.4 + 0.4 * z))
    return loss


def mag(y, easy):
    def loss(x, w):
        cos = cosines(x, w)
        a = x.norm(dim=1).clamp(10, 110)
        m = (0.8 - 0.45) / (110 - 10) * (a - 10) + 0.45
        c = of(cos, y)
        full = torch.cos(torch.acos(c) + m)
        past = c > 0 if easy else c > torch.cos(math.pi - m)
        target = torch.where(past, full, c if easy else c - torch.sin(math.pi - m) * m)
        return with_target(cos, y, target) + 35 * (a / 110**2 + 1 / a).mean()
    return loss


def adacos(y, scale):
    def loss(x, w):
        cos = cosines(x, w)
        with torch.no_grad():
            others = torch.where(F.one_hot(y, CLASSES).bool(), torch.zeros_like(cos), torch.exp(scale * cos))
            theta = torch.acos(of(cos, y)).quantile(0.5)
            new = torch.log(others.sum(1).mean()) / torch.cos(torch.clamp(theta, max=math.pi / 4))
            RESULTS["adacos/scale"] = new.numpy()
        return F.cross_entropy(new * cos, y)
    return loss


def sub_center(y):
    def loss(x, sub):
        cos = torch.einsum("bd,ckd->bck", F.normalize(x, dim=-1), F.normalize(sub, dim=-1)).amax(dim=2)
        return with_target(cos, y, arcface("fallback")(of(cos, y)))
    return loss


def classification(x, w, bias, y, multi_hot):
    x = x / 10  # logits of a few units
    record("softmax", lambda x, w, b: F.cross_entropy(x @ w.T + b, y), x, w, bias)
    record("softmax/smooth", lambda x, w, b: F.cross_entropy(x @ w.T + b, y, label_smoothing=0.1), x, w, bias)
    binary = F.binary_cross_entropy_with_logits
    one_hot = F.one_hot(y, CLASSES).double()
    record("sigmoid", lambda x, w, b: binary(x @ w.T + b, one_hot), x, w, bias)
    smooth = torch.tensor(multi_hot, dtype=torch.float64) * 0.9 + 0.05
    record("sigmoid/multi_hot", lambda x, w, b: binary(x @ w.T + b, smooth), x, w, bias)


def peers(x, w, sub, y):
    def of_class(loss, parameter, transposed):
        def value(x, w):
            # The peer holds its weights as a parameter; put the tensor that has our gradient in its place.
            delattr(loss, parameter)
            setattr(loss, parameter, w.reshape(-1, SIZE).T if transposed else w)
            return loss(x, y)
        return value

    sizes = {"num_classes": CLASSES, "embedding_size": SIZE}
    record("peer/arcface", of_class(peer.ArcFaceLoss(**sizes, margin=math.degrees(0.5), scale=SCALE), "W", True), x, w)
    record("peer/cosface", of_class(peer.CosFaceLoss(**sizes, margin=0.4, scale=SCALE), "W", True), x, w)
    record("peer/normface", of_class(peer.NormalizedSoftmaxLoss(**sizes, temperature=1 / SCALE), "W", True), x, w)
    sub_loss = peer.SubCenterArcFaceLoss(**sizes, margin=math.degrees(0.5), scale=SCALE, sub_centers=CENTRES)
    record("peer/subcenter_arcface", of_class(sub_loss, "W", True), x, sub)


def main():
    arrays = inputs()
    x, w, y = arrays["x"], arrays["w"], torch.tensor(arrays["labels"], dtype=torch.int64)
    margin_losses(x, w, y)
    record("curricularface", curricular(y, torch.tensor(0.3, dtype=torch.float64)), x, w)
    record("adaface", ada(y, torch.tensor(20.0, dtype=torch.float64), torch.tensor(100.0, dtype=torch.float64)), x, w)
    record("magface/easy", mag(y, easy=True), x, w)
    record("magface/fallback", mag(y, easy=False), x, w)
    record("adacos", adacos(y, math.sqrt(2) * math.log(CLASSES - 1)), x, w)
    record("subcenter_arcface", sub_center(y), x, arrays["sub"])
    classification(x, w, arrays["bias"], y, arrays["multi_hot"])
    peers(x, w, arrays["sub"], y)
    np.savez_compressed(FOLDER / "margins.npz", **arrays, **RESULTS)
    print(f"{len(RESULTS)} arrays; torch {torch.__version__}")


if __name__ == "__main__":
    main()
