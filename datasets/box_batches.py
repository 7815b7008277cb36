"""Batches for a detector: as those of batches.py, functions of (seed, step), of pictures with boxes."""

import functools
import math
import types
from collections.abc import Iterator

import numpy as np

from ..errors import UserError
from . import batches, box_views
from .boxes import BoxFiles

_UNIFORM = types.SimpleNamespace(name="uniform")


def detection_batches(source: BoxFiles, *, input, augment, detection, batch_size: int, seed: int, process_index: int,
                      process_count: int, parts: int = 1, tolerance_percent: float = 0.0, threads: int = 2,
                      workers: int = 0, buffer: int = 8, first_step: int = 0) -> batches.TrainBatches:
    """Makes the batches of a detector's training, from `first_step` on, without end.

    Args:
        source: pictures with boxes, M at most of each, without crowds, which are left out.
        input, augment, detection: sections of a configuration, `input`, `box_augment` and `detection`, or objects with
            their attributes. detection has the height H and width W of the network's input, M, max_boxes, and
            kept_views, how many views there are of each picture, which come round again; 0 for new ones in each epoch.
        others: as of `batches.train_batches`. The order is uniform: each epoch a new permutation.

    Returns an iterator of {"image": u8[b,H,W,3], "boxes": f32[b,M,4] in pixels of the network's input, "classes":
    i32[b,M], "num_boxes": i32[b], after which boxes are padding, "replaced": i64[b], -1 or the record whose picture
    could not be read}, and, where views come round, "view": i64[b], the number of a view among those of all pictures. A
    mosaic of more than M boxes is none: its own picture is shown alone.
    Raises UserError, naming the picture, where one has more than M boxes; and as `batches.train_batches` does.

    Example:
        >>> import json, os, tempfile
        >>> import PIL.Image
        >>> from geodesic import datasets
        >>> from geodesic.configs import default
        >>> folder = tempfile.TemporaryDirectory()
        >>> PIL.Image.new("RGB", (80, 60)).save(os.path.join(folder.name, "a.png"))
        >>> with open(os.path.join(folder.name, "a.json"), "w") as file:
        ...     json.dump({"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 7, "name": "cat"}],
        ...                "annotations": [{"image_id": 1, "category_id": 7, "bbox": [10, 10, 40, 20]}]}, file)
        >>> source = datasets.build("coco", path=file.name)
        >>> config = default.get_config()
        >>> config.detection.height = config.detection.width = 160
        >>> made = datasets.detection_batches(source, input=config.input, augment=config.box_augment,
        ...     detection=config.detection, batch_size=2, seed=0, process_index=0, process_count=1)
        >>> batch = next(made)
        >>> batch["image"].shape, batch["num_boxes"].tolist(), batch["boxes"][0, 0].tolist()
        ((2, 160, 160, 3), [1, 1], [20.0, 40.0, 100.0, 80.0])
        >>> made.close(), folder.cleanup()
        (None, None)
    """
    box_views.check_options(detection, augment)
    _check_boxes(source, detection.max_boxes)
    load = _TrainLoader(source, input, augment, detection, batch_size, parts, seed, process_index, process_count,
                        tolerance_percent)
    return batches.TrainBatches(load, functools.partial(batches.iterate, count=batches.FOREVER, size=load.local_size,
                                                        threads=threads, processes=workers, buffer=buffer), first_step)


def detection_eval_batches(source: BoxFiles, *, input, detection, batch_size: int, process_index: int,
                           process_count: int, threads: int = 2, workers: int = 0, buffer: int = 8) -> Iterator[dict]:
    """Goes through a source once, in order, each picture letterboxed.

    Args: as of `detection_batches`.

    Returns an iterator of {"image": u8[b,H,W,3], "index": i64[b], "mask": bool[b], "scale": f32[b], pixels of the input
    for one of the picture, "offset": f32[b,2], x and y of the picture's corner in the input, "size": i32[b,2], height
    and width of the picture}; `box_views.to_picture` takes boxes back by them. The last batches are padded to full
    ones, the same number on every process. mask is False for padding (index -1) and for a picture that cannot be read
    (index as ever).
    """
    load = _EvalLoader(source, input, detection, batch_size, process_index, process_count)
    return batches.iterate(load, math.ceil(len(source) / batch_size), load.local_size, threads, workers, buffer)


def _check_boxes(source: BoxFiles, most: int) -> None:
    counts = source.boxes.counts()
    if counts.max(initial=0) > most:
        place = int(counts.argmax())
        raise UserError(f"{source.paths[place]} has {counts[place]:,} boxes, and detection.max_boxes is {most:,}"
                        + (f"; so has {(counts > most).sum() - 1:,} other picture(s) more than that"
                           if (counts > most).sum() > 1 else "") + f": use at least {counts[place]}")


class _TrainLoader(batches.Loader):
    def __init__(self, source: BoxFiles, input, augment, detection, batch_size: int, parts: int, seed: int,
                 process_index: int, process_count: int, tolerance_percent: float):
        super().__init__(source, _UNIFORM, batch_size, parts, seed, process_index, process_count, tolerance_percent)
        self._input, self._augment, self._detection = map(batches.plain, (input, augment, detection))

    def _records(self, position: int) -> list[int]:
        return [self._order.record(position), *self._others(position)]

    def _view_number(self, position: int) -> int:
        """Which of the views that come round this is, counted over all pictures."""
        number = self._detection.kept_views
        return self._order.record(position) * number + position // len(self._source) % number

    def _rng(self, kind: int, position: int) -> np.random.Generator:
        """What a view is drawn from: its place in the endless order, or its number among those that come round."""
        if self._detection.kept_views:
            return np.random.default_rng((self._seed, kind, 5, self._view_number(position)))
        return np.random.default_rng((self._seed, kind, position))

    def _others(self, position: int) -> list[int]:
        """The three other pictures of a mosaic, or none."""
        if not self._augment.mosaic:
            return []
        rng = self._rng(4, position)
        return rng.integers(len(self._source), size=3).tolist() if rng.random() < self._augment.mosaic else []

    def _at(self, position: int) -> dict:
        index, draws = self._order.record(position), box_views.Draws(self._rng(1, position))
        others = self._others(position)
        seen, stand_in = self._mosaic([index, *others], draws) if others else self._alone(index, draws)
        if len(seen.boxes) > self._detection.max_boxes:
            seen, stand_in = self._alone(index, draws)
        boxes = np.zeros((self._detection.max_boxes, 4), np.float32)
        classes = np.zeros(self._detection.max_boxes, np.int32)
        boxes[:len(seen.boxes)], classes[:len(seen.boxes)] = seen.boxes, seen.classes
        which = {"view": np.int64(self._view_number(position))} if self._detection.kept_views else {}
        return {"image": box_views.colours(seen.image, draws, self._augment), "boxes": boxes, "classes": classes,
                "num_boxes": np.int32(len(seen.boxes)), "replaced": np.int64(index if stand_in != index else -1),
                **which}

    def _alone(self, index: int, draws: box_views.Draws) -> tuple[box_views.Seen, int]:
        return self._first_readable(index, functools.partial(self._view, draws=draws, which=0))

    def _mosaic(self, indices: list[int], draws: box_views.Draws) -> tuple[box_views.Seen, int]:
        tiles = []
        for place, (_, into, corner) in enumerate(box_views.mosaic_tiles(draws, self._detection)):
            view = functools.partial(self._view, draws=draws, which=place, into=into, corner=corner)
            tiles.append(self._first_readable(indices[place], view))
        return box_views.mosaic([seen for seen, _ in tiles], draws, self._detection), tiles[0][1]

    def _view(self, record: dict, **options) -> box_views.Seen:
        return box_views.picture_view(record, inputs=self._input, detection=self._detection, options=self._augment,
                                      **options)


class _EvalLoader(batches.EvalLoader):
    def __init__(self, source: BoxFiles, input, detection, batch_size: int, process_index: int, process_count: int):
        super().__init__(source, batch_size, process_index, process_count)
        self._input, self._detection = map(batches.plain, (input, detection))

    def _element(self, index: int) -> dict:
        return {"image": np.zeros((self._detection.height, self._detection.width, 3), np.uint8),
                "index": np.int64(index), "mask": np.bool_(False), "scale": np.float32(1),
                "offset": np.zeros(2, np.float32), "size": np.zeros(2, np.int32)}

    def _seen(self, record: dict) -> dict:
        return box_views.eval_view(record, self._input, self._detection)._asdict()
