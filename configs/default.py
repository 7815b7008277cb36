"""Every field of a configuration, with its unit and its default.

A config file is `get_config()` of this module plus its differences. Configurations are locked: a field
that is not here cannot be set, from a file or from the command line.
"""

import ml_collections
from ml_collections import config_dict

ConfigDict = ml_collections.ConfigDict


def _data() -> ConfigDict:
    return ConfigDict(dict(
        name="orl_faces",       # a name of datasets.SOURCES
        path="",                # folder or file of the source; "" for those that bring their own data
        classes=(0, 0),         # keep classes start..stop-1 in the source's order, relabelled; stop 0 = to the end
    ))


def _input() -> ConfigDict:
    return ConfigDict(dict(
        image_size=112,         # pixels, height and width of what the trunk sees
        fit="stretch",          # stretch: both sides to image_size; center_crop: short side, then the centre
        mean=(127.5,) * 3,      # subtracted on the device, per RGB channel, in units of 0..255
        std=(127.5,) * 3,       # divided by on the device, per RGB channel, in units of 0..255
    ))


def _augment() -> ConfigDict:
    return ConfigDict(dict(
        horizontal_flip=0.5,    # probability
        rotation=0.0,           # degrees, uniform in -rotation..rotation
        translation=0.0,        # share of the side, uniform in -translation..translation, each axis
        scaling=0.0,            # log2 of the zoom, uniform in -scaling..scaling
        brightness=0.0,         # share of 255 added, uniform in -brightness..brightness
        contrast=0.0,           # factor about the mean, uniform in 1-contrast..1+contrast
    ))


def _embedder() -> ConfigDict:
    """None leaves the choice to the named embedder; what it then uses is printed at the start."""
    return ConfigDict(dict(
        name="resnet101",                              # a name of embedders.EMBEDDERS
        embedding_size=512,                            # D; 0 takes the layer's pooled output as it is
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


def _loss() -> ConfigDict:
    """The loss's name, and one section of hyper-parameters for each loss that can be named."""
    return ConfigDict(dict(
        name="arcface",                                # a name of losses.LOSSES
        num_classes=0,                                 # 0 = as many as the training data has
        arcface=dict(
            scale=64.0,                                # s, multiplies the cosines
            margin=0.5,                                # m, radians
            gradient="fallback",                       # full | fallback | easy | detached | clip, past theta + m = pi
        ),
        cosface=dict(scale=64.0, margin=0.4),          # margin in units of cosine
        normface=dict(scale=64.0),
    ))


def _optimizer() -> ConfigDict:
    return ConfigDict(dict(
        name="sgd",                                    # sgd | adamw
        learning_rate=0.1,                             # peak, for the whole batch
        learning_rate_per_item=0.0,                    # not 0: the peak is this times batch_size
        momentum=0.9,                                  # sgd
        nesterov=False,                                # sgd
        b1=0.9, b2=0.999, eps=1e-8,                    # adamw
        weight_decay=5e-4,                             # sgd: added to the gradient; adamw: decoupled
        decay_norm_and_bias=True,                      # whether weight_decay reaches vectors (BN scales, biases) too
        trunk_clip_norm=0.0,                           # clip the embedder's gradient to this L2 norm; 0 = off
        trunk_learning_rate_factor=1.0,                # learning-rate factor of the embedder without its neck
        loss_learning_rate_factor=1.0,                 # learning-rate factor of the loss's parameters (prototypes)
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


def get_config() -> ConfigDict:
    return ConfigDict(dict(
        seed=0,
        train_data=_data(),
        test_data=_data(),      # classes never trained on
        input=_input(),
        augment=_augment(),
        embedder=_embedder(),
        loss=_loss(),
        optimizer=_optimizer(),
        schedule=_schedule(),
        batch_size=128,         # examples per update, over all devices and accumulation steps
        accumulation_steps=1,   # an update's batch goes through the trunk in this many equal parts
        num_epochs=20,          # passes over the training images
        total_steps=0,          # updates; 0 = from num_epochs
        items_per_epoch=0,      # images that count as an epoch; 0 = all of the training data
        init_from="",           # folder of imported weights or of a run: where the trunk starts; "" = random
        evaluation=dict(
            every_epochs=0.0,               # during training; 0 = only after the last step
            batch_size=128,                 # images, over all devices
            average_horizontal_flips=False, # embed the image and its mirror, and take the mean
            recall_at=(1, 2, 4, 8),         # k of recall@k
            far=(1e-2, 1e-3),               # false accept rates of TAR@FAR
            pca_components=100,             # of the eigenfaces baseline
        ),
        # How a run is watched and kept. These fields may change when a run is resumed: they do not touch its result.
        run=dict(
            loader_threads=2,               # decode and augment, per host
            loader_buffer=8,                # batches prepared ahead
            log_every_steps=10,
            checkpoint_every_steps=100,     # and at the end
            checkpoints_to_keep=3,
        ),
    )).lock()
