"""The fields of the section `loss` of a configuration, and one section for each loss that can be named."""

from ml_collections import config_dict


def fields() -> config_dict.ConfigDict:
    """The loss's name, how it is computed, and one section of hyper-parameters for each loss that can be named."""
    return config_dict.ConfigDict(dict(
        name="arcface",                                # a name of losses.LOSSES
        num_classes=0,                                 # 0 = as many as the training data has
        chunk_size=0,                                  # classes (pair losses: anchors) at a time on a device; 0 = all
        sample_rate=1.0,                               # Partial FC: share of the classes in one step's softmax
        sample_update="all",                           # all | sampled: the prototypes that Partial FC moves
        logits_dtype="float32",                        # float32 | bfloat16: the logits from forward to backward pass
        memory_size=0,                                 # pair losses: earlier examples to compare with; 0 = none
        memory_start_step=0,                           # the first step that is remembered
        **_angular_losses(),
        **_adaptive_losses(),
        **_proxy_losses(),
        **_pair_losses(),
        combine=dict.fromkeys(                         # name="combine": the weight of each; 0 = not part of it
            (*_angular_losses(), *_adaptive_losses(), *_proxy_losses(), *_pair_losses(), "softmax"), 0.0),
        softmax=dict(label_smoothing=0.0),             # share of the target spread over all classes
        sigmoid=dict(label_smoothing=0.0),             # targets are 1 - half of it, and half of it
        fcos=dict(                                     # of --config.task=detection alone
            box_loss="giou",                           # giou | diou | ciou
            alpha=0.25, gamma=2.0,                     # of the focal loss
            radius=1.5,                                # strides from the centre of a box within which points learn it
        ),
        retinanet=dict(                                # likewise, with --config.detection.head=retinanet
            box_loss="smooth_l1",                      # smooth_l1 | giou
            beta=1 / 9,                                # smooth_l1: from which difference on it is linear; 0 = always
            alpha=0.25, gamma=2.0,                     # of the focal loss
            positive_iou=0.5, negative_iou=0.4,        # from, below: of an anchor with the box that it overlaps most
        ),
    ))


def _angular_losses() -> dict:
    """The scale multiplies the cosines; margins are in radians unless stated."""
    return dict(
        arcface=dict(
            scale=64.0,
            margin=0.5,
            gradient="fallback",                       # full | fallback | easy | detached | clip, past theta + m = pi
            filter_threshold=config_dict.placeholder(float),  # other classes above this cosine count as 0; None = off
        ),
        combined=dict(
            scale=64.0,
            margins=(1.0, 0.5, 0.0),                   # factor of the angle, radians, cosine
        ),
        cosface=dict(scale=64.0, margin=0.4),          # margin in units of cosine
        normface=dict(scale=64.0),
        sphereface=dict(scale=64.0, m1=1.35),          # factor of the angle
        subcenter_arcface=dict(
            scale=64.0,
            margin=0.5,
            k=3,                                       # prototypes per class
            gradient="fallback",                       # as of arcface
        ),
    )


def _adaptive_losses() -> dict:
    return dict(
        adacos=dict(dynamic=True),                     # whether the scale follows the batch
        adaface=dict(
            scale=64.0,
            margin=0.4,                                # radians and cosine
            h=0.333,                                   # share of the norms' deviations between the two
            t_alpha=0.01,                              # rate of the running mean and deviation of the norms
        ),
        curricularface=dict(scale=64.0, margin=0.5),
        elasticface=dict(
            scale=64.0,
            mean=config_dict.placeholder(float),       # of the margin; None = the paper's for that kind
            std=config_dict.placeholder(float),        # of the margin; None = the paper's for that kind
            kind="arc",                                # arc (radians) | cos (cosine)
            plus=False,                                # whether larger margins go to smaller cosines
        ),
        magface=dict(
            scale=64.0,
            easy_margin=True,                          # no margin where cos <= 0
            lower_norm=10.0, upper_norm=110.0,         # norms are clipped to these
            lower_margin=0.45, upper_margin=0.8,       # radians at these norms
            lambda_g=35.0,                             # weight of the reward for large norms
        ),
    )


def _proxy_losses() -> dict:
    """Margins are in units of cosine."""
    return dict(
        proxy_anchor=dict(margin=0.1, alpha=32.0),     # alpha multiplies the cosines
        proxy_nca=dict(
            scale=1.0,                                 # of squared distances
            denominator="all",                         # all | others: whether the own proxy is in it
        ),
        soft_triple=dict(
            k=10,                                      # centres per class
            la=20.0,                                   # multiplies the class similarities
            gamma=0.1,                                 # temperature among a class's centres
            tau=0.2,                                   # weight of the distance between a class's centres
            margin=0.01,
        ),
    )


def _pair_losses() -> dict:
    """Margins are cosines, or Euclidean distances of normalised embeddings."""
    return dict(
        circle=dict(margin=0.4, gamma=80.0),           # .25 and 256 for faces
        contrastive=dict(pos_margin=0.0, neg_margin=1.0),  # distances
        lifted_structure=dict(neg_margin=1.0),         # distance
        margin_pairs=dict(
            margin=0.2, beta=1.2,                      # distances
            mining="distance_weighted",                # all | semi_hard | batch_hard | distance_weighted
        ),
        multi_similarity=dict(
            alpha=2.0, beta=50.0, base=0.5,
            epsilon=0.1,                               # of its miner, cosine; None = no miner
        ),
        n_pairs=dict(l2_weight=0.0),                   # of the mean squared length
        nt_xent=dict(temperature=0.07),
        recall_at_k=dict(
            ks=(1, 2, 4, 8, 16),
            rank_temperature=1.0,                      # places
            temperature=0.01,                          # cosine
        ),
        smooth_ap=dict(temperature=0.01),              # cosine
        sup_con=dict(temperature=0.1),
        triplet=dict(
            margin=0.2,                                # distance
            mining="semi_hard",                        # as of margin_pairs
        ),
    )
