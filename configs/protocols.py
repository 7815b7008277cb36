"""Evaluation protocols: what exactly a number under a name means. `get("cub200")` is one, `NAMES` lists them.

A protocol says which images, how they are cropped, whether mirrored views are averaged, which metrics, by which
definition, and on what a checkpoint may be selected. `geodesic evaluate --protocol=NAME` follows it.
"""

import itertools
from collections.abc import Collection

import ml_collections

from geodesic.errors import UserError

ConfigDict = ml_collections.ConfigDict

# The definition of each metric by the beginning of its name: a number without one is not printed.
DEFINITIONS = {
    "recall@": "share of queries with an item of their class among the k nearest by cosine (CMC@k); self excluded by "
               "index, ties by gallery index, queries without a match left out and counted",
    "precision@1": "share of queries whose nearest item is of their class",
    "r_precision": "(1/R) sum over i<=R of rel(i)",
    "map@r": "(1/R) sum over i<=R of P(i) rel(i), Musgrave et al. 2020",
    "map": "(1/R) sum of P(i) rel(i) over the whole ranking",
    "accuracy_10fold": "mean over 10 contiguous folds of the share of pairs decided rightly; same iff the squared "
                       "distance of unit vectors is below a threshold of arange(0, 4, .01), chosen on the other nine",
    "accuracy_10fold_std": "population standard deviation of the ten folds' accuracies",
    "tar@far=": "largest share of genuine pairs accepted at a false accept rate of at most this, not interpolated; 0 "
                "where it is not reachable",
    "eer": "where the false accept rate crosses the false reject rate",
    "top": "share of images whose class is among the k largest outputs of the trained classifier",
    "mean_per_class_accuracy": "mean over the classes of the share of their images that are answered rightly",
    "calibration_error": "mean over images of |accuracy - confidence| of the image's bin, 15 of equal width",
    "adaptive_calibration_error": "the same with 15 bins of as many images each",
    "nll": "mean over images of -log of the probability that the image's class is given",
    "brier": "mean over images of the squared distance of the probabilities from 1 of the class and 0 of the others",
    "macro_ap": "mean over classes of the average precision; equal scores are accepted together",
    "micro_ap": "average precision of all (image, class) together; equal scores are accepted together",
    "way": "mean over episodes of the share of queries that are nearest to their class's prototype, the mean of its "
           "support; embeddings L2-normalised, distances Euclidean",
    "one_shot_20way": "mean over the twenty runs of Lake et al. 2015 of the share of 20 drawings, all by one drawer, "
                      "nearest by cosine to their character's one drawing by another drawer, within one alphabet",
    "within_alphabet_20way": "mean over trials within one alphabet, their characters and drawers drawn by lot, of the "
                             "share of 20 drawings, all by one drawer, nearest by cosine to their character's one "
                             "drawing by another",
    "ap": "mean over classes and IoU .50, .55 .. .95 of the average precision of boxes at 101 recalls, at most 100 "
          "boxes of an image and class, as COCO's program has it",
    "ap50": "the same at IoU .50 alone",
    "ap75": "the same at IoU .75 alone",
    "ap_": "the same of small objects (up to 32^2 pixels), medium ones (up to 96^2) or large ones",
    "ar@": "mean over classes and IoU .50, .55 .. .95 of the share of objects that are found, at most this many boxes "
           "of an image and class",
    "ar_": "the same at 100 boxes, of small, medium or large objects",
    "pair_accuracy": "share of same and different pairs decided rightly by a cosine threshold chosen on other classes",
}


def definition(metric: str) -> str:
    """Looks a metric's definition up, by the longest beginning (or part, for episodes) of its name.

    Raises UserError where it has none.

    Example:
        >>> definition("recall@10") == DEFINITIONS["recall@"]
        True
    """
    found = [key for key in DEFINITIONS if metric.startswith(key) or (key == "way" and "way_" in metric)]
    if not found:
        raise UserError(f"metric {metric!r} has no definition in configs/protocols.py")
    return DEFINITIONS[max(found, key=len)]


def data(name: str = "", path: str = "", classes: tuple[int, int] = (0, 0)) -> dict:
    """Describes data as a configuration's data section does.

    path is below the --data folder, `FILE#SPLIT` where the source has splits.

    Example:
        >>> data("sop", "#train")
        {'name': 'sop', 'path': '#train', 'classes': (0, 0)}
    """
    return dict(name=name, path=path, classes=classes)


def _protocol(name: str, task: str, title: str, split: str, **values) -> ConfigDict:
    fields = dict(
        name=name, task=task,
        data=title,                 # the data set's published name
        split=split,                # in words
        train=data(),               # what may be trained on; name "" = anything
        test=data(),                # the images to measure, the queries where there is a gallery
        gallery=data(),             # what the queries are ranked against; name "" = the queries' own set
        images=0, classes=0,        # of `test`, as published; 0 = not fixed. Another count marks the record
        gallery_images=0,
        image_size=0,               # pixels; 0 = what the run was trained for
        resize=0,                   # pixels of the short side before the crop; 0 = the crop's own size
        fit="center_crop",          # as of config.input.fit
        flips=False,                # whether the embeddings of an image and its mirror are combined
        recall_at=(), far=(), episodes=0,
        ways_shots=(),              # few-shot: (N, K) of each figure
        normalise_templates=True, detector_scores=True,  # IJB: keep the norms out or in; weigh by the detector's score
        primary="",                 # the metric that a selection goes by
        select_on=("validation",),  # "test" is in nobody's list: it takes --select_on_test, which marks the record
    )
    unknown = set(values) - set(fields)
    if unknown:
        raise UserError(f"protocol {name} has no field {sorted(unknown)}")
    return ConfigDict(fields | values).lock()


def _retrieval() -> list[ConfigDict]:
    """Lists protocols of classes that were not trained on: every image queries all others, or a gallery."""
    shared = dict(fit="center_crop", resize=256, primary="recall@1")
    return [
        _protocol("cub200", "retrieval", "CUB-200-2011", "train: first 100 classes; test: last 100", **shared,
                  train=data("image_folder", "images", (0, 100)), test=data("image_folder", "images", (100, 200)),
                  images=5_924, classes=100, recall_at=(1, 2, 4, 8)),
        _protocol("cars196", "retrieval", "Cars196", "train: first 98 classes; test: last 98", **shared,
                  train=data("cars196", "", (0, 98)), test=data("cars196", "", (98, 196)),
                  images=8_131, classes=98, recall_at=(1, 2, 4, 8)),
        _protocol("sop", "retrieval", "Stanford Online Products", "the published Ebay_train / Ebay_test", **shared,
                  train=data("sop", "#train"), test=data("sop", "#test"),
                  images=60_502, classes=11_316, recall_at=(1, 10, 100, 1000)),
        _protocol("in_shop", "retrieval", "In-Shop Clothes", "the published train / query / gallery", **shared,
                  train=data("in_shop", "#train"), test=data("in_shop", "#query"), gallery=data("in_shop", "#gallery"),
                  images=14_218, classes=3_985, gallery_images=12_612, recall_at=(1, 10, 20, 30, 40, 50)),
        _protocol("orl_faces", "retrieval", "ORL faces", "train: people 1..30; test: people 31..40",
                  fit="stretch", flips=True, primary="map@r", train=data("orl_faces", "", (0, 30)),
                  test=data("orl_faces", "", (30, 40)), images=100, classes=10, recall_at=(1, 2, 4, 8),
                  far=(1e-2, 1e-3)),
        _protocol("grocery_retrieval", "retrieval", "Grocery Store",
                  "train: the first 41 of 81 fine classes of train; test: the other 40 of test",
                  primary="map@r", train=data("image_folder", "train", (0, 41)),
                  test=data("image_folder", "test", (41, 81)), classes=40, recall_at=(1, 2, 4, 8)),
        _protocol("omniglot_retrieval", "retrieval", "Omniglot",
                  "train: 964 characters of 30 background alphabets; test: 659 of 20 evaluation alphabets",
                  fit="stretch", primary="map@r", train=data("omniglot", "", (0, 964)),
                  test=data("omniglot", "", (964, 1623)), images=13_180, classes=659, recall_at=(1, 2, 4, 8)),
    ]


def _omniglot() -> list[ConfigDict]:
    shared = dict(fit="stretch", classes=0)
    background = dict(train=data("omniglot", "", (0, 964)), test=data("omniglot", "", (964, 1623)), images=13_180)
    return [
        _protocol("omniglot_few_shot_vinyals", "few_shot", "Omniglot",
                  "train: 1,200 characters and their rotations; test: the other 423 and theirs (Vinyals et al. 2016)",
                  **shared, train=data("omniglot_rotations", "", (0, 4800)),
                  test=data("omniglot_rotations", "", (4800, 6492)),
                  images=33_840, episodes=1000, ways_shots=((5, 1), (5, 5), (20, 1), (20, 5)), primary="20way_1shot"),
        _protocol("omniglot_one_shot_lake", "one_shot", "Omniglot",
                  "train: background alphabets; test: the twenty runs of Lake et al. 2015, 20-way and one-shot within "
                  "an evaluation alphabet, two drawers each", **shared, **background, primary="one_shot_20way"),
        _protocol("omniglot_within_alphabet", "one_shot", "Omniglot",
                  "train: background alphabets; test: 20-way one-shot trials within an evaluation alphabet, two "
                  "drawers each, drawn by lot", **shared, **background, episodes=400, primary="within_alphabet_20way"),
        _protocol("omniglot_verification", "pair_accuracy", "Omniglot",
                  "train: background alphabets; test: same and different pairs within the evaluation alphabets, half "
                  "each; threshold from pairs of the background (after Koch et al. 2015)", **shared, **background,
                  episodes=10_000, primary="pair_accuracy"),
    ]


def _faces() -> list[ConfigDict]:
    titles = {"lfw": "LFW", "cfp_fp": "CFP-FP", "agedb_30": "AgeDB-30", "calfw": "CALFW", "cplfw": "CPLFW"}
    pairs = {"lfw": 6_000, "cfp_fp": 7_000, "agedb_30": 6_000, "calfw": 6_000, "cplfw": 6_000}
    folds = [_protocol(name, "ten_fold", title, f"{pairs[name]:,} pairs in ten contiguous folds, unshuffled",
                       test=data("bin", f"{name}.bin"), images=2 * pairs[name], image_size=112, fit="stretch",
                       flips=True, primary="accuracy_10fold") for name, title in titles.items()]
    return folds + [_ijb(which, *switches) for which in ("b", "c")
                    for switches in itertools.product((True, False), repeat=3)]


def _ijb(which: str, norm: bool, detector: bool, flip: bool) -> ConfigDict:
    """Makes a protocol of IJB. Three switches move TAR@1e-4 by .6 point: they are in the name, n1 d1 f1 for all on.

    n: an embedding keeps its norm before the mean over a template's media; d: times the detector's score; f: the sum
    with the mirror's embedding.
    """
    return _protocol(
        f"ijb_{which}_n{norm:d}d{detector:d}f{flip:d}", "templates", f"IJB-{which.upper()}",
        "the published 1:1 template pairs" + (", embeddings with their norms" if norm else ", embeddings normalised")
        + (", times the detector's score" if detector else "") + (", with mirrors" if flip else ""),
        test=data("ijb", f"IJB{which.upper()}"), image_size=112, fit="stretch", flips=flip,
        normalise_templates=not norm, detector_scores=detector, far=(1e-3, 1e-4, 1e-5, 1e-6), primary="tar@far=0.0001")


def _classification() -> list[ConfigDict]:
    return [
        _protocol("imagenet", "classification", "ImageNet-1k", "train: train; test: the 50,000 of validation",
                  train=data("image_folder", "train"), test=data("image_folder", "val"), images=50_000, classes=1_000,
                  image_size=224, resize=256, primary="top1"),
        _protocol("cifar10", "classification", "CIFAR-10", "train: 50,000; test: 10,000", fit="stretch",
                  train=data("tfds", "cifar10#train"), test=data("tfds", "cifar10#test"), images=10_000, classes=10,
                  image_size=32, primary="top1"),
        _protocol("fashion_mnist", "classification", "Fashion-MNIST", "train: 60,000; test: 10,000", fit="stretch",
                  train=data("idx", "train-images-idx3-ubyte.gz"), test=data("idx", "t10k-images-idx3-ubyte.gz"),
                  images=10_000, classes=10, primary="top1"),
        _protocol("grocery_classification", "classification", "Grocery Store",
                  "train: the 2,640 of train; test: the 2,485 of test, 81 fine classes",
                  train=data("image_folder", "train"), test=data("image_folder", "test"), images=2_485, classes=81,
                  primary="top1"),
    ]


def _detection() -> list[ConfigDict]:
    return [_protocol("coco", "detection", "COCO", "train: train2017; test: the 5,000 of val2017",
                      train=data("coco", "annotations/instances_train2017.json"),
                      test=data("coco", "annotations/instances_val2017.json"), images=5_000, classes=80, primary="ap")]


PROTOCOLS = {protocol.name: protocol for protocol in
             (*_retrieval(), *_omniglot(), *_faces(), *_classification(), *_detection())}
# The common names, for the setting that arcface_torch reports.
ALIASES = {"ijb_b": "ijb_b_n1d1f1", "ijb_c": "ijb_c_n1d1f1"}
NAMES = (*PROTOCOLS, *ALIASES)


def get(name: str) -> ConfigDict:
    """Looks a protocol up; it is locked. Raises UserError, with the known names, for another name.

    Example:
        >>> get("cars196").recall_at
        (1, 2, 4, 8)
    """
    full = ALIASES.get(name, name)
    if full not in PROTOCOLS:
        raise UserError(f"unknown protocol {name!r}; known: {', '.join(NAMES)}")
    return PROTOCOLS[full]


def followed_by(config, data_sets: Collection[str]) -> ConfigDict | None:
    """Finds the retrieval protocol that a run's own test data and views are those of; None where there is none.

    data_sets: names of the sources that are one data set each. Another source's name does not say what its images are.

    Example:
        >>> from geodesic.configs import quickstart
        >>> followed_by(quickstart.get_config(), data_sets=("orl_faces",)).name
        'orl_faces'
    """
    for protocol in PROTOCOLS.values():
        same = all(config[section].name == wanted.name and tuple(config[section].classes) == tuple(wanted.classes)
                   and not config[section].folds and not config[section].test_share
                   for section, wanted in (("train_data", protocol.train), ("test_data", protocol.test)))
        views = (config.input.fit == protocol.fit and config.input.resize_size == protocol.resize
                 and config.evaluation.average_horizontal_flips == protocol.flips
                 and protocol.image_size in (0, config.input.image_size))
        if protocol.task == "retrieval" and not protocol.gallery.name and protocol.test.name in data_sets and (
                same and views):
            return protocol
    return None
