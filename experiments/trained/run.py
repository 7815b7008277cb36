"""A trained model at work: what `geodesic.load` gives, and what every program that uses a model works with."""

import functools
import json
import math
import os
from collections.abc import Callable

import jax
import numpy as np

from geodesic import datasets
from geodesic.configs import stored
from geodesic.datasets import transforms
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint, imported
from geodesic.experiments.galleries import gallery
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.trained import (
    classes,
    classifier,
    detecting,
    embedding,
    inputs,
    network,
    temperature,
    thresholds,
)
from geodesic.metrics import retrieval


class Run:
    """An embedder with its weights, its configuration, and what its workdir knows of classes and thresholds.

    Images may come in any form that `embed` takes, and always go through the preprocessing that the model was trained
    with: the same pixels as in `geodesic evaluate`, `embed`, `search` and `verify`.

    workdir: where it was loaded from. config: its configuration, every default filled in. step: of the checkpoint, 0 of
    imported weights. digest: 16 hex digits that name the weights. embedder, variables: the Flax module and its arrays,
    for work of your own: `run.embedder.apply(run.variables, run.preprocess(images), train=False)`.
    """

    def __init__(self, workdir: str, config, mesh: jax.sharding.Mesh, embedder, variables: dict, step: int):
        self.workdir, self.config, self.mesh, self.step = workdir, config, mesh, step
        self.embedder, self.variables = embedder, variables
        self.digest = checkpoint.digest(variables)
        self._placed = meshes.replicate(mesh, variables)
        self._step_of = functools.lru_cache(maxsize=8)(self._make_step)

    def __repr__(self) -> str:
        size = network.image_size(self.config)
        size = f"{size[0]} x {size[1]}" if isinstance(size, tuple) else size
        given = self.embedding_size or "boxes"
        return f"<geodesic run {self.workdir!r}, step {self.step}: {self.config.embedder.name}, {size} px -> {given}>"

    def embed(self, images, *, normalized: bool = True) -> np.ndarray:
        """f32[N,D]: a row for each image, of length 1 (cosines are products), or as the network gives it.

        images: one image or a list of them, each a path, encoded bytes, a Pillow image, or uint8 pixels [H,W,3] of any
        size; pixels [N,H,W,3]; the path of a folder, in name order; or a source of `geodesic.datasets`.
        Raises UserError, naming the first, where images cannot be read.
        """
        rows = self._all_rows(self.embed_source(inputs.as_source(images)))
        return retrieval.normalized(rows) if normalized else rows

    def features(self, images, layer: str) -> np.ndarray:
        """What a named layer gives for each image: a map f32[N,h,w,C], or f32[N,C] of a layer without a map.

        images: as of `embed`. layer: one of `layers`; UserError names them for another.
        """
        self.check_layers(layer)
        return self._all_rows(self.embed_source(inputs.as_source(images), layer=layer, pooled=False))

    def embed_source(self, source: datasets.Source, progress: Callable[[int], None] = lambda images: None, *,
                     layer: str | None = None, pooled: bool = True, variables: dict | None = None
                     ) -> embedding.Embedded:
        """Every image of a source, not normalised; images that cannot be read are reported, not fatal.

        progress: called with the number of images after each batch. layer, pooled: in place of the configuration's.
        variables: in place of the run's own, for the same network with other weights.
        """
        step = self._step_of(self.config.evaluation.layer if layer is None else layer, pooled)
        placed = self._placed if variables is None else meshes.replicate(self.mesh, variables)
        return self._through(step, placed, source, self.config.evaluation.batch_size, progress)

    @property
    def query_batch(self) -> int:
        """How many pictures that are asked about go through the network at a time: always the same number, as the
        last bits of an embedding depend on it. One for each device of a CPU, where more gain nothing, else 16."""
        alone = self.mesh.devices.flat[0].platform == "cpu"
        return self.mesh.size * (1 if alone else math.ceil(16 / self.mesh.size))

    def embed_queries(self, source: datasets.Source, progress: Callable[[int], None] = lambda images: None
                      ) -> embedding.Embedded:
        """As `embed_source`; a picture's row is the same bit for bit whatever else is in the source."""
        return self._through(self._step_of(self.config.evaluation.layer, True), self._placed, source, self.query_batch,
                             progress, one_shape=True)

    def _through(self, step, placed, source, batch_size: int, progress, *, one_shape=False) -> embedding.Embedded:
        return embedding.embed_source(step, placed, source, self.mesh, input=self.config.input, loader=self.config.run,
                                      batch_size=batch_size, progress=progress, one_shape=one_shape,
                                      detection=self.config.detection if self.config.task == "detection" else None)

    def embed_views(self, views: np.ndarray, batch_size: int = 0) -> np.ndarray:
        """f32[N,D], not normalised: the rows that `embed_queries` gives pictures whose views these are, u8[N,S,S,3].

        batch_size: in place of `query_batch`, a multiple of the devices; then the last bits may be others.
        """
        size, rows = batch_size or self.query_batch, []
        for start in range(0, len(views), size):
            part = views[start:start + size]
            padded = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), np.uint8)])
            placed = meshes.put_batch(self.mesh, {"image": padded})
            rows.append(np.asarray(self._step_of(self.config.evaluation.layer, True)(self._placed, placed["image"])))
        return np.concatenate(rows)[:len(views)]

    def source(self, images) -> datasets.Source:
        """The source that `embed` makes of what it is given."""
        return inputs.as_source(images)

    def gallery(self, path, **options) -> gallery.Gallery:
        """The gallery in a folder, whether it is there already or not, with this run as its model.

        options: of `Gallery`, say and stop. Its methods are create, add, remove, update, search, rows, export, compact,
        check and migrate (docs/gallery.md).
        """
        return gallery.Gallery(path, self, **options)

    def export(self, out, formats=("onnx",), *, layer: str | None = None, output: str = "",
               preprocessing: bool = True, free_size: bool = False, images=None,
               say: Callable[[str], None] = lambda line: None) -> dict:
        """Writes the model into the folder `out`, as files that need none of this code, and gives the record of it.

        formats: of onnx, int8, stablehlo and safetensors. layer: of `layers`, averaged over its map; default: the
        configuration's. output: "embedding" of length 1 as of `embed`, "scores" as of `classify`, or "map", the layer
        as of `features`; of a detector "detections" as of `detect`, or "boxes" of all points; "" is the first.
        preprocessing: whether the files take uint8 pixels [N,S,S,3], or what `preprocess` gives. free_size: whether
        they take other heights and widths too, as far as the network allows.
        images: real pictures, as of `embed`, that the files are compared on; default: the run's test data. say: told
        of each file. Raises UserError where a file does not give what the run gives; then nothing is written.
        """
        from geodesic.experiments.trained import export, export_wanted

        wanted = export_wanted.wanted(self.config, os.fspath(out), formats, layer=layer, output=output,
                                      preprocessing=preprocessing, free_size=free_size, images=images)
        return export.export(self, wanted, say)

    def preprocess(self, images) -> np.ndarray:
        """f32[N,S,S,3]: what the embedder is given for these images (as of `embed`), fitted and normalised."""
        source, options = inputs.as_source(images), self.config.input
        pixels = np.stack([transforms.eval_view(source[place], options) for place in range(len(source))])
        return embedding.normalize(pixels, options)

    def cosine(self, one, other) -> float:
        """The cosine of the embeddings of two images."""
        first, second = self.embed([one, other])
        return float(first @ second)

    def same(self, one, other, far: float = 0.0) -> bool:
        """Whether two images show one identity: whether their cosine is at least the threshold that
        `geodesic calibrate` has set for this false accept rate, 0 for the smallest rate there is.

        Raises UserError where none was set, or where it belongs to other weights.
        """
        return self.cosine(one, other) >= self.threshold_of(far)["threshold"]

    def threshold_of(self, far: float = 0.0) -> dict:
        """What `geodesic calibrate` has found for this false accept rate: the threshold, its rates and intervals."""
        entry = thresholds.load(self.workdir, self.identity, far)
        if entry is None:
            raise UserError(f"{self.workdir} has no threshold: set one with `geodesic calibrate --workdir="
                            f"{self.workdir} --far=1e-3 --source=... --data=...`")
        return entry

    @property
    def threshold(self) -> float | None:
        """The cosine from which two images count as one identity, at the smallest rate there is; None without one."""
        entry = thresholds.load(self.workdir, self.identity)
        return None if entry is None else entry["threshold"]

    def classify(self, images) -> np.ndarray:
        """f32[N,C]: the scores of the classes of `class_names` for each image.

        They are probabilities of a softmax or sigmoid classifier, and cosines to the class's nearest prototype of an
        angular margin. Raises UserError where the loss has learnt no classes.
        """
        found = self.classifier  # before anything is embedded
        return found.predict(self._all_rows(self.embed_source(inputs.as_source(images), layer="")))

    def predict(self, images, top: int = 5) -> list[list[tuple[str, float]]]:
        """For each image its likeliest classes, as many as `top`: (name, probability), the likeliest first.

        images: as of `embed`. The probabilities are a softmax's (of an angular margin, of its scaled cosines), at the
        temperature that `geodesic evaluate` has fitted, where it has fitted one. Raises UserError as `classify` does,
        and where the stored temperature belongs to other weights.
        """
        found, names = self.predict_source(inputs.as_source(images), top, self.temperature or 1.0), self.class_names
        if found.problems:
            raise UserError(found.problems[0])
        return [[(names[place], float(sure)) for place, sure in zip(*row, strict=True)]
                for row in zip(found.classes.tolist(), found.probabilities, strict=True)]

    def predict_source(self, source: datasets.Source, top: int, temperature: float = 1.0,
                       progress: Callable[[int], None] = lambda images: None) -> classifier.Predicted:
        """The likeliest classes of every image of a source; images that cannot be read are reported, not fatal."""
        if top < 1:
            raise UserError(f"top={top}: ask for at least one class")
        classifies = self.classifier
        embedded = self.embed_source(source, progress, layer="")
        found = classifies.top(embedded.embeddings[embedded.readable], top, temperature)
        rows = [np.zeros((len(source), values.shape[1]), values.dtype) for values in found]
        for row, values in zip(rows, found, strict=True):
            row[embedded.readable] = values
        return classifier.Predicted(*rows, embedded.readable, embedded.problems)

    def detect(self, images, threshold: float = 0.0) -> list[detecting.Detected]:
        """For each image what a detector finds in it, best first: boxes f32[K,4], x1, y1, x2, y2 in pixels of the
        picture, scores f32[K], and classes i[K], places in `class_names`.

        images: as of `embed`. threshold: what scores less is left out, beside what `detection.smallest_score` leaves
        out. Raises UserError, naming the first, where images cannot be read, and of a run that is no detector.
        """
        found = self.detect_source(inputs.as_source(images), threshold=threshold)
        if found.problems:
            raise UserError(found.problems[0])
        return found.images

    def detect_source(self, source: datasets.Source, progress: Callable[[int], None] = lambda images: None, *,
                      threshold: float = 0.0) -> detecting.Found:
        """What a detector finds in every image of a source; images that cannot be read are reported, not fatal."""
        if self.config.task != "detection":
            raise UserError(f"{self.workdir} is no detector, but a run of --config.task={self.config.task}")
        if not 0 <= threshold <= 1:
            raise UserError(f"scores are between 0 and 1, and so is their threshold; got {threshold:g}")
        found = detecting.detect_source(self._detect_step, self._placed, source, self.mesh, config=self.config,
                                        progress=progress)
        return found._replace(images=[image.above(threshold) for image in found.images])

    @functools.cached_property
    def _detect_step(self) -> Callable:
        return detecting.make_detect_step(self.embedder, self.mesh, self.config)

    @property
    def temperature(self) -> float | None:
        """By what the classifier's logits are divided for its probabilities; None before `geodesic evaluate` has fitted
        it. Raises UserError where the stored one belongs to other weights."""
        stored = temperature.load(self.workdir, self.classifier_identity)
        return None if stored is None else stored["temperature"]

    @functools.cached_property
    def classifier(self) -> classifier.Classifier:
        """The trained loss as a classifier, or that of imported weights, read when it is first asked for."""
        self.check_embeds()
        return classifier.load(self.workdir, self.config, self.step)

    @property
    def classifier_identity(self) -> dict:
        """What decides the values of the classifier's logits."""
        return {**self.identity, "layer": "", "classifier": self.classifier.digest}

    @functools.cached_property
    def known_data(self) -> dict | None:
        """What the workdir knows of the data that the run was trained on ("train") and watched on ("test"): the names
        of classes, images of each, digests. None of imported weights, and of a run of an older version."""
        return classes.read(self.workdir)

    @property
    def trained_on(self) -> dict | None:
        """The "train" of `known_data`, or None."""
        return self.known_data and self.known_data["train"]

    @property
    def class_names(self) -> list[str]:
        """Of the classes that were trained on, in the order of `classify`.

        Raises UserError where they are not known: of imported weights without a classifier, and of runs of older
        versions.
        """
        if self.trained_on is not None:
            return self.trained_on["class_names"]
        if self._head is None:
            raise UserError(f"{self.workdir} does not hold the names of its classes: imported weights have them where "
                            f"they bring a classifier, and a run of an older version gets them when `geodesic train` "
                            f"goes on with it")
        return self._head.class_names

    @property
    def class_places(self) -> dict[str, int]:
        """The column of `classify` of each name that data may have for a class: what public weights know it by
        (WordNet's ids of ImageNet's classes), and last its own."""
        ids = [] if self._head is None else self._head.class_ids
        return {name: place for place, name in enumerate(ids) if name} | {
            name: place for place, name in enumerate(self.class_names)}

    @functools.cached_property
    def _head(self) -> imported.Head | None:
        return imported.load_head(self.workdir) if imported.exist(self.workdir) else None

    @property
    def layers(self) -> dict[str, tuple[int, ...]]:
        """Every layer that `features` and --config.evaluation.layer know, with its shape for one image."""
        return network.layers(self.embedder, network.image_size(self.config))

    @property
    def embedding_size(self) -> int:
        """D, how many numbers an embedding has."""
        layer = self.config.evaluation.layer
        if layer:
            return self.layers[layer][-1]
        return network.size_of(network.abstract(self.embedder, network.image_size(self.config))[0])

    @property
    def identity(self) -> dict:
        """What decides the values of an embedding: the weights, and how pixels become input. Vectors of two models
        compare only where this is equal."""
        evaluation = self.config.evaluation
        return json.loads(json.dumps({  # as it comes back from a file
            "checkpoint": self.digest, "step": self.step, "embedder": self.config.embedder.name,
            "input": stored.as_dict(self.config)["input"],
            "average_horizontal_flips": evaluation.average_horizontal_flips, "layer": evaluation.layer}))

    def check_embeds(self) -> None:
        """Raises UserError of a detector, whose network gives boxes and no vector of an image."""
        if self.config.task == "detection":
            raise UserError(f"{self.workdir} is a detector, which gives boxes and no embeddings: use geodesic detect, "
                            f"or name a layer of its trunk")

    def _make_step(self, layer: str, pooled: bool) -> Callable:
        if not layer:
            self.check_embeds()
        return embedding.make_embed_step(
            self.embedder, self.mesh, self.config.input, layer=layer, pooled=pooled,
            average_horizontal_flips=self.config.evaluation.average_horizontal_flips)

    def check_layers(self, *names: str) -> dict[str, tuple[int, ...]]:
        """Gives `layers`. Raises UserError where one of the names is not among them."""
        known = self.layers
        for name in names:
            if name not in known:
                raise UserError(f"{self.config.embedder.name} has no layer {name!r}; it has {', '.join(known)}")
        return known

    def _all_rows(self, embedded: embedding.Embedded) -> np.ndarray:
        if embedded.problems:
            more = f" ({len(embedded.problems)} images cannot be read)" if len(embedded.problems) > 1 else ""
            raise UserError(embedded.problems[0] + more)
        return embedded.embeddings
