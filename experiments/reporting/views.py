"""A sheet of what a run is trained on: the images of its first batches, as its loader makes them."""

import itertools

import cv2
import numpy as np

from geodesic import datasets

_COLUMNS, _ROWS, _PIXELS, _TITLE = 8, 6, 128, 16


def draw(config, source: datasets.Source) -> np.ndarray:
    """u8[H,W,3]: the first examples of a run of this configuration, in the order of the batches.

    Above each are its class and, of one that is mixed, the shares of both. What cannot be read is replaced, as a
    tolerance would do. Raises UserError for sections that cannot be followed.
    """
    batches = datasets.train_batches(
        source, input=config.input, augment=config.augment, sampling=config.sampling, batch_size=config.batch_size,
        parts=config.accumulation_steps, seed=config.seed, tolerance_percent=100.0, process_index=0, process_count=1,
        threads=1, buffer=1)
    try:
        examples = [*itertools.islice(_examples(batches), _COLUMNS * _ROWS)]
    finally:
        batches.close()
    sheet = np.full((_ROWS * (_PIXELS + _TITLE), _COLUMNS * _PIXELS, 3), 255, np.uint8)
    for place, example in enumerate(examples):
        row, column = divmod(place, _COLUMNS)
        top, left = row * (_PIXELS + _TITLE), column * _PIXELS
        title = np.full((_TITLE, _PIXELS, 3), 255, np.uint8)
        cv2.putText(title, _title(example, source.class_names), (2, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (0, 0, 0), 1,
                    cv2.LINE_AA)
        sheet[top:top + _TITLE, left:left + _PIXELS] = title
        sheet[top + _TITLE:top + _TITLE + _PIXELS, left:left + _PIXELS] = cv2.resize(
            example["image"], (_PIXELS, _PIXELS), interpolation=cv2.INTER_AREA)
    return sheet


def _examples(batches):
    for batch in batches:
        for row in range(len(batch["label"])):
            yield {name: values[row] for name, values in batch.items()}


def _title(example: dict, names: list[str]) -> str:
    share = float(example["label_weight"]) if "label_weight" in example else 1.0
    parts = [(share, example["label"])] + ([(1 - share, example["other_label"])] if share < 1 else [])
    width = 22 // len(parts) - 3 * (len(parts) > 1)
    return " ".join((f"{part:.2f} " if len(parts) > 1 else "") + names[label][:width] for part, label in parts).encode(
        "ascii", "replace").decode()
