"""Every field of a configuration, with its unit and its default; loss_fields.py has those of the section `loss`, and
detection_fields.py those of `detection`, box_fields.py those of `box_augment`.

A config file is `get_config()` of this module plus its differences. Configurations are locked: a field
that is not here cannot be set, from a file or from the command line.
"""

import ml_collections
from ml_collections import config_dict

from geodesic.configs import box_fields, detection_fields, loss_fields

ConfigDict = ml_collections.ConfigDict

# Dotted names of fields and sections that came later: while they have their defaults, a configuration's hash
# (stored.hash_of) leaves them out, so that the runs, sweeps and records of older versions keep theirs.
ADDED: tuple[str, ...] = (
    "task",
    "evaluation.evaluators",
    "evaluation.weights",
    "evaluation.early_stop",
    "head",
    *(f"optimizer.{name}" for name in ("lion", "lamb", "lars", "muon", "adafactor", "groups", "layer_decay", "frozen",
                                       "clip_norm", "ema_decay")),
    "distill",
    "loss.logits_dtype",
    *(f"augment.{name}" for name in ("vertical_flip", "shear", "elastic", "elastic_points", "rand_augment_ops",
                                     "rand_augment_magnitude", "augmix_severity", "augmix_chains", "augmix_depth",
                                     "augmix_alpha", "mixup_alpha", "cutmix_alpha", "mix_probability")),
    *(f"{part}_data.{name}" for part in ("train", "test", "calibration")
      for name in ("test_share", "split_by", "split_seed")),
    "detection",
    "box_augment",
    "box_augment.vertical_flip",
    "loss.fcos",
    *(f"detection.{name}" for name in ("head", "scales", "ratios", "spread")),
    "loss.retinanet",
)


def _data() -> ConfigDict:
    return ConfigDict(dict(
        name="orl_faces",       # a name of datasets.SOURCES
        path="",                # folder or file of the source; "" for those that bring their own data
        classes=(0, 0),         # keep classes start..stop-1 in the source's order, relabelled; stop 0 = to the end
        folds=0,                # then cut the classes into this many folds, in their order; 0 = do not
        fold=0,                 # 0..folds-1: the fold that validates; the others train
        part="train",           # train | validation, with folds: which classes to keep, relabelled; train | test, with
                                # test_share: which part
        test_share=0.0,         # in place of folds: the share set aside for testing, alike in both sections; 0 = none
        split_by="images",      # images: that share of the images of each class; classes: whole classes
        split_seed=0,           # another one sets others aside
    ))


def _no_data() -> ConfigDict:
    data = _data()
    data.name = ""
    return data


def _input() -> ConfigDict:
    return ConfigDict(dict(
        image_size=112,         # pixels, height and width of what the trunk sees
        fit="stretch",          # stretch: both sides to image_size; center_crop: short side, then the centre
        resize_size=0,          # pixels, center_crop: the short side before the crop; 0 = image_size
        decode_to_scale=True,   # let the JPEG decoder shrink, by 2 or more and never below what is wanted
        mean=(127.5,) * 3,      # subtracted on the device, per RGB channel, in units of 0..255
        std=(127.5,) * 3,       # divided by on the device, per RGB channel, in units of 0..255
    ))


def _augment() -> ConfigDict:
    return ConfigDict(dict(
        horizontal_flip=0.5,    # probability
        vertical_flip=0.0,      # probability; for what has no top, as under a microscope or from the air
        rotation=0.0,           # degrees, uniform in -rotation..rotation
        translation=0.0,        # share of the side, uniform in -translation..translation, each axis
        scaling=0.0,            # log2 of the zoom, uniform in -scaling..scaling
        shear=0.0,              # pixels across for each down, uniform in -shear..shear, and likewise pixels down
        elastic=0.0,            # deviation of the offsets that bend the image, share of the side
        elastic_points=5,       # of the grid that has an offset at each point, along a side
        brightness=0.0,         # share of 255 added, uniform in -brightness..brightness
        contrast=0.0,           # factor about the mean, uniform in 1-contrast..1+contrast
        random_resized_crop=False,            # train on random crops, not on the fitted image
        crop_area=(0.08, 1.0),                # its share of the image's area, uniform
        crop_ratio=(3 / 4, 4 / 3),            # its width / height, log-uniform
        color_jitter=(0.0, 0.0, 0.0, 0.0),    # brightness, contrast, saturation: in 1-x..1+x; hue: turns
        color_jitter_probability=1.0,
        grayscale=0.0,                        # probability
        blur=0.0,                             # probability, of a Gaussian
        blur_sigma=(0.1, 2.0),                # its deviation in pixels, uniform
        low_resolution=0.0,                   # probability of shrinking and enlarging again
        low_resolution_side=(0.2, 1.0),       # share of the side in between, uniform
        erasing=0.0,                          # probability of erasing a box
        erasing_area=(0.02, 1 / 3),           # its share of the area, uniform
        erasing_ratio=(0.3, 3.3),             # its height / width, log-uniform
        erasing_fill="mean",                  # mean: zero once normalised; noise: normal once normalised
        rand_augment_ops=0,                   # RandAugment: operations on each image; 0 = off
        rand_augment_magnitude=9,             # of its operations, 0..30
        augmix_severity=0,                    # AugMix: 1..10; 0 = off
        augmix_chains=3,                      # of operations, which are mixed
        augmix_depth=0,                       # operations of a chain; 0 = 1 to 3, drawn
        augmix_alpha=1.0,                     # of the distributions of the weights
        mixup_alpha=0.0,                      # mixup: of the Beta distribution of an example's weight; 0 = off
        cutmix_alpha=0.0,                     # cutmix: likewise; with both, each is done to half of the mixed examples
        mix_probability=1.0,                  # of mixing an example with its partner
    ))


def _sampling() -> ConfigDict:
    return ConfigDict(dict(
        name="uniform",         # uniform: a permutation for each epoch; pk: P classes x K images in every batch
        images_per_class=4,     # pk: K; P is batch_size / K
    ))


def _embedder() -> ConfigDict:
    """None leaves the choice to the named embedder; what it then uses is printed at the start."""
    return ConfigDict(dict(
        name="resnet101",                              # a name of embedders.EMBEDDERS
        embedding_size=512,                            # D of the neck; 0 takes the pooled layer as it is
        layer=config_dict.placeholder(str),            # the layer the embedding is taken from
        pooling=config_dict.placeholder(str),          # average | max | average_max | generalised_mean | flatten
        neck=config_dict.placeholder(str),             # none | linear | bn_fc_bn | layer_norm
        dropout=config_dict.placeholder(float),        # share dropped before the neck's last layer
        drop_path=config_dict.placeholder(float),      # share of images that skip the last block's branch
        dtype="float32",                               # float32 | bfloat16: of the trunk; parameters stay float32
        batch_norm="local",                            # local | synchronised | frozen: statistics of one device, of
                                                       # all, or the running ones, which then never change
        batch_norm_group_size=0,                       # synchronised: devices that share statistics; 0 = all
        bn_momentum=config_dict.placeholder(float),    # share of the running statistics that stays
        bn_epsilon=config_dict.placeholder(float),     # added to the variance
        version=config_dict.placeholder(str),          # resnet: v1.5 | v1, where a bottleneck has its stride
        stem=config_dict.placeholder(str),             # resnet: imagenet | space_to_depth | deep | half | small
        zero_init_last_scale=config_dict.placeholder(bool),  # a block starts as its shortcut
        convolution=config_dict.placeholder(str),      # auto | native | taps | merged: how a product is computed
        remat=config_dict.placeholder(tuple),          # stages whose activations are computed again, not kept
    ))


def _head() -> ConfigDict:
    """What is trained on top of the trunk in place of pooling and neck, with one section of fields for each head.

    Sizes that are 0 leave the last dense layer out; dropout is a share.
    """
    return ConfigDict(dict(
        name="",                                       # a name of heads.HEADS; "" = the embedder's own neck
        layers=(),                                     # the embedder's layers that it is given; () = embedder.layer
        linear=dict(size=0, dropout=0.0),              # size 0: the pooled layers as they are
        mlp=dict(
            hidden_sizes=(512,),                       # of the dense layers, each followed by the activation
            activation="relu",                         # relu | gelu | silu | tanh
            dropout=0.0,                               # of every hidden layer
            size=0,
        ),
        conv=dict(
            channels=(256,),                           # of the 3x3 convolutions, each followed by the activation
            activation="relu",                         # as of mlp
            dropout=0.0,
            size=0,
        ),
        recurrent=dict(
            cell="gru",                                # gru | lstm
            hidden_size=256,
            bidirectional=False,                       # whether a second one reads the rows from bottom to top
            dropout=0.0,
            size=0,
        ),
        attention_pool=dict(
            num_queries=1,                             # what each gives follows the one before
            num_heads=8,
            width=256,                                 # of what a query gives, over all heads of the attention
            dropout=0.0,
            size=0,
        ),
    ))


def _optimizer() -> ConfigDict:
    return ConfigDict(dict(
        name="sgd",                                    # sgd | adamw | rmsprop | lion | lamb | lars | muon | adafactor
        learning_rate=0.1,                             # peak, for the whole batch
        learning_rate_per_item=0.0,                    # not 0: the peak is this times batch_size
        momentum=0.9,                                  # sgd, rmsprop
        nesterov=False,                                # sgd, rmsprop
        b1=0.9, b2=0.999, eps=1e-8,                    # adamw; rmsprop: eps alone
        rms_decay=0.99,                                # rmsprop: share of the mean squared gradient that stays
        lion=dict(b1=0.9, b2=0.99),                    # its rate is a third to a tenth of AdamW's, its decay as much
                                                       # larger
        lamb=dict(b1=0.9, b2=0.999, eps=1e-6),
        lars=dict(momentum=0.9, nesterov=False, trust_coefficient=1e-3),  # the trust ratio is of matrices alone
        muon=dict(
            momentum=0.95, nesterov=True,
            steps=5,                                   # of Newton and Schulz
            consistent_rms=0.2,                        # size of an update, as AdamW's, so that one rate does for both;
                                                       # 0: the square root of max(1, fan-out / fan-in) instead
        ),                                             # kernels alone; all else by AdamW, of b1, b2 and eps
        adafactor=dict(
            decay_rate=0.8,                            # the share of the mean squares that stays is 1 - step ** -this
            factored_size=128,                         # sides from which on mean squares are of rows and columns
            clip=1.0,                                  # of the root mean square of an update
            relative=True,                             # the rate is times the root mean square of the parameter
        ),                                             # the embedder alone; class weights by AdamW, of b1, b2 and eps
        weight_decay=5e-4,                             # sgd, rmsprop, lars: added to the gradient; else: decoupled
        decay_norm_and_bias=True,                      # whether weight_decay reaches vectors (BN scales, biases) too
        groups=(),                                     # (pattern, learning-rate factor, decay factor) for parameters
                                                       # by path, such as (("*/bias", 2.0, 0.0), ("embedder/neck", 10.0,
                                                       # 1.0)); the first that matches holds
        layer_decay=1.0,                               # learning-rate factor of a layer, times that of the layer above;
                                                       # neck, head and loss have 1
        frozen=(),                                     # (pattern, epoch until which it holds or 0 for always) for parts
                                                       # of the embedder, such as (("embedder/stage1_*", 0),)
        clip_norm=0.0,                                 # clip the gradient of embedder and loss together; 0 = off
        embedder_clip_norm=0.0,                        # clip the whole embedder's gradient to this L2 norm; 0 = off
        trunk_learning_rate_factor=1.0,                # learning-rate factor of the trunk: the embedder without its
                                                       # neck or head. 0: the trunk is frozen, its BatchNorm too, and
                                                       # has no backward pass
        loss_learning_rate_factor=1.0,                 # learning-rate factor of the loss's parameters (prototypes)
        head_only_epochs=0.0,                          # the trunk is frozen for these first epochs: only neck or head
                                                       # and the loss's parameters learn
        value_clip=0.0,                                # clip each number of the gradient to +-this; 0 = off
        ema_decay=0.0,                                 # share of the running average of all weights that stays in a
                                                       # step, at most (1 + step) / (10 + step); 0 = no average
    ))


def _schedule() -> ConfigDict:
    return ConfigDict(dict(
        name="polynomial",                             # constant | step | step_every | polynomial | cosine
        warmup_epochs=0.0,                             # linear from 0
        power=2.0,                                     # polynomial
        end_factor=0.0,                                # polynomial, cosine: final share of the learning rate
        step_epochs=(10.0, 16.0),                      # step: when the rate drops, in epochs
        step_factor=0.1,                               # step, step_every: what it is multiplied by
        first_step_epoch=25.0,                         # step_every: when the rate first drops, in epochs
        step_every_epochs=7.0,                         # step_every: and how long after each drop the next follows
    ))


def _distill() -> ConfigDict:
    return ConfigDict(dict(
        teacher="",         # folder of imported weights or of a run, whose answers are learnt too; "" = none
        weight=0.5,         # of those in the loss; the loss itself has 1 - weight
        kind="logits",      # logits | embedding: its direction | relations: the distances between images
        temperature=4.0,    # logits are divided by it
    ))


def _evaluation() -> ConfigDict:
    return ConfigDict(dict(
        every_epochs=0.0,               # during training, from half a step on; 0 = only after the last step
        weights="ema",                  # of a run with a running average: that, or the last ones: ema | raw
        early_stop=(),                  # (score, evaluations): the run ends where that score of an evaluation has
                                        # not been better for so many of them, such as ("map@r", 5); () = never
        evaluators=(),                  # what a run is watched by, each with its own every_epochs, such as
                                        # (("test", 0.5), ("knn", 5.0)); () = the task's own
        batch_size=128,                 # images, over all devices
        average_horizontal_flips=False, # embed the image and its mirror, and take the mean
        layer="",                       # embed from this layer, averaged over its map; "" = the embedding itself
        recall_at=(1, 2, 4, 8),         # k of recall@k, each less than the test images
        far=(1e-2, 1e-3),               # false accept rates of TAR@FAR
        pca_components=100,             # of the eigenfaces baseline
    ))


def _run() -> ConfigDict:
    """How a run is watched and kept. These fields may change when a run is resumed: they do not touch its result."""
    return ConfigDict(dict(
        loader_threads=2,               # decode and augment, per host
        loader_workers=0,               # processes that do it instead, per host; 0 = the threads
        loader_buffer=8,                # batches prepared ahead
        log_every_steps=10,
        profile_steps=0,                # warm steps to trace into WORKDIR/profile, and to tell about; 0 = none
        trackers=(),                    # services that follow the run, such as ("wandb", "mlflow"): where they
                                        # write is told by their own environment variables (docs/pods.md)
        checkpoint_every_steps=100,     # and at the end
        checkpoints_to_keep=3,          # the newest
        keep_best="",                   # and the one with the best of this score (map@r, eer ...); "" = no
        max_rollbacks=10,               # batches of the whole run that may be skipped, for a loss or gradient that
                                        # is not finite
        stall_timeout_seconds=1800.0,   # without a step, a batch, or a part of an evaluation: the run ends with
                                        # status 75 and the stacks of what hangs. Above any compilation; 0 = never
    ))


def get_config() -> ConfigDict:
    """Makes the configuration in which every field has its default, locked.

    Example:
        >>> config = get_config()
        >>> config.batch_size
        128
    """
    return ConfigDict(dict(
        template="",            # the template whose ranges of values are checked; "" = none
        paper="",               # FILE:ROW of configs/papers that this run reproduces; "" = none
        task="embedding",       # a name of experiments.tasks.TASKS: embedding | classification |
                                # multilabel | detection
        seed=0,
        train_data=_data(),
        test_data=_data(),      # what is evaluated on: classes never trained on, where generalisation is the question
        calibration_data=_no_data(),  # identities that thresholds are set on: neither trained on nor tested on
        input=_input(),
        augment=_augment(),
        sampling=_sampling(),
        embedder=_embedder(),
        head=_head(),
        detection=detection_fields.fields(),
        box_augment=box_fields.fields(),
        loss=loss_fields.fields(),
        optimizer=_optimizer(),
        schedule=_schedule(),
        batch_size=128,         # examples per update, over all devices and accumulation steps
        accumulation_steps=1,   # an update's batch goes through the trunk and the loss in this many equal parts; pairs
                                # are of one part, and pk gives each part whole classes
        num_epochs=20,          # passes over the training images
        total_steps=0,          # updates; 0 = from num_epochs
        items_per_epoch=0,      # images that count as an epoch; 0 = all of the training data
        invalid_data_tolerance_percent=0.0,  # of the training images that may be unreadable: the next of the class
                                # takes the place of one; past the tolerance the run stops. 0: at the first
        init_from="",           # folder of imported weights or of a run: where the trunk starts; "" = random
        distill=_distill(),
        evaluation=_evaluation(),
        run=_run(),
    )).lock()
