"""Writes pairs.npz: pair and proxy losses by pytorch-metric-learning or their definitions, in float64.

    python -m tests.losses.goldens.pairs

"peer/..." entries are computed by pytorch-metric-learning itself, its hyper-parameters matched.
"""

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_metric_learning import distances, miners
from pytorch_metric_learning import losses as peer

from tests.losses.goldens import FOLDER
from tests.losses.goldens.recording import RESULTS, record

CLASSES, SIZE, CENTRES = 7, 5, 4


def inputs():
    """Three classes of four, one of one; class 3 to 5 have no example. Rows of a class are loosely together."""
    rng = np.random.default_rng(1)
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 6, 0, 1, 2])
    x = rng.normal(size=(CLASSES, SIZE))[labels] + 1.2 * rng.normal(size=(labels.size, SIZE))
    return {"x": x.astype(np.float32), "labels": labels.astype(np.int32),
            "w": rng.normal(size=(CLASSES, SIZE)).astype(np.float32),
            "centres": rng.normal(size=(CLASSES, CENTRES, SIZE)).astype(np.float32)}


def peers(x, y):
    mined = lambda loss, miner: lambda x: loss(x, y, miner(x, y))
    plain = lambda loss: lambda x: loss(x, y)
    products = distances.DotProductSimilarity(normalize_embeddings=False)  # as the paper; the peer's default normalises
    record("peer/contrastive", plain(peer.ContrastiveLoss()), x)
    record("peer/lifted_structure", plain(peer.LiftedStructureLoss()), x)
    record("peer/multi_similarity", mined(peer.MultiSimilarityLoss(), miners.MultiSimilarityMiner(epsilon=0.1)), x)
    record("peer/multi_similarity/all", plain(peer.MultiSimilarityLoss()), x)
    record("peer/circle", plain(peer.CircleLoss()), x)
    record("peer/n_pairs", plain(peer.NPairsLoss(distance=products)), x)
    record("peer/nt_xent", plain(peer.NTXentLoss(temperature=0.2)), x)
    record("peer/sup_con", plain(peer.SupConLoss(temperature=0.2)), x)
    record("peer/triplet/all", plain(peer.TripletMarginLoss(margin=0.2)), x)
    semi_hard = miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard")
    record("peer/triplet/semi_hard", mined(peer.TripletMarginLoss(margin=0.2), semi_hard), x)
    record("peer/triplet/batch_hard", mined(peer.TripletMarginLoss(margin=0.2), miners.BatchHardMiner()), x)
    record("peer/margin_pairs/all", plain(peer.MarginLoss(margin=0.2, beta=1.2)), x)


def peer_proxies(x, w, centres, y):
    def of_class(loss, parameter, shape):
        def value(x, w):
            # The peer holds its weights as a parameter; put the tensor that has our gradient in its place.
            delattr(loss, parameter)
            setattr(loss, parameter, shape(w))
            return loss(x, y)
        return value

    sizes = {"num_classes": CLASSES, "embedding_size": SIZE}
    same = lambda w: w
    nca = peer.ProxyNCALoss(**sizes, softmax_scale=3, distance=distances.LpDistance(power=2))
    record("peer/proxy_nca", of_class(nca, "proxies", same), x, w)
    record("peer/proxy_anchor", of_class(peer.ProxyAnchorLoss(**sizes), "proxies", same), x, w)


def definitions(x, w, centres, y):
    """What the peer does not have, or has otherwise."""
    unit = lambda t: F.normalize(t, dim=-1)
    own = y[:, None] == y[None, :]
    positive = own & ~torch.eye(len(y), dtype=torch.bool)

    def before(x, temperature):
        s = unit(x) @ unit(x).T
        found = torch.sigmoid((s[:, None, :] - s[:, :, None]) / temperature)  # query, p, j
        eye = torch.eye(len(y), dtype=torch.bool)
        return torch.where(eye[:, None, :] | eye[None], torch.zeros_like(found), found)

    def smooth_ap(x):
        ranks = before(x, 0.05)
        precision = (1 + (ranks * positive[:, None, :]).sum(2)) / (1 + ranks.sum(2))
        kept = positive.any(1)
        return (1 - (precision * positive).sum(1)[kept] / positive.sum(1)[kept]).mean()

    def recall(x):
        places = before(x, 0.05).sum(2)
        kept = positive.any(1)
        share = sum(torch.sigmoid(k - 1 - places) for k in (1, 2, 4)) / 3
        return (1 - (share * positive).sum(1)[kept] / positive.sum(1)[kept]).mean()

    def soft_triple(x, centres):
        s = torch.einsum("bd,ckd->bck", unit(x), unit(centres))
        similarity = (torch.softmax(s / 0.1, dim=2) * s).sum(2)
        loss = F.cross_entropy(20 * (similarity - 0.01 * F.one_hot(y, CLASSES)), y)
        between = torch.einsum("ckd,cld->ckl", unit(centres), unit(centres))
        upper = torch.triu(torch.ones(CENTRES, CENTRES, dtype=torch.bool), 1)
        distances = torch.sqrt(2 + 1e-5 - 2 * between[:, upper])
        return loss + 0.2 * distances.sum() / (CLASSES * CENTRES * (CENTRES - 1))

    def proxy_nca(x, w):
        d = ((unit(x)[:, None] - unit(w)[None]) ** 2).sum(2)
        is_own = F.one_hot(y, CLASSES).bool()
        others = torch.logsumexp(torch.where(is_own, torch.full_like(d, -torch.inf), -3 * d), dim=1)
        return (3 * d[is_own] + others).mean()

    record("smooth_ap", smooth_ap, x)
    record("recall_at_k", recall, x)
    record("soft_triple", soft_triple, x, centres)
    record("proxy_nca/others", proxy_nca, x, w)


def main():
    arrays = inputs()
    y = torch.tensor(arrays["labels"], dtype=torch.int64)
    peers(arrays["x"], y)
    peer_proxies(arrays["x"], arrays["w"], arrays["centres"], y)
    definitions(arrays["x"], arrays["w"], arrays["centres"], y)
    np.savez_compressed(FOLDER / "pairs.npz", **arrays, **RESULTS)
    print(f"{len(RESULTS)} arrays; torch {torch.__version__}")


if __name__ == "__main__":
    main()
