"""Writes detection_errors.npz, what tidecv 1.0.1 makes of some images: python -m tests.metrics.goldens.detection_errors

In an environment of its own, with tidecv==1.0.1 from PyPI, which brings opencv, pandas and seaborn. The images have no
crowds, each class has objects, and no two scores are equal: elsewhere metrics/detection_errors.py and tidecv differ.
"""

import numpy as np
import tidecv

from tests.metrics.goldens import FOLDER, scenes

# tidecv's names, in our order.
NAMES = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
SETS, IMAGES = 40, 6


def unlike(rng, images: int, classes) -> tuple[list, list]:
    """A scene of which every class has objects and no two scores are equal."""
    while True:
        found, truth = scenes.scene(rng, images, classes, crowds=False)
        if set(classes) == set(np.concatenate([image[1] for image in truth])):
            break
    scores = iter(rng.permutation(1000) / 1000)
    return [(boxes, np.array([next(scores) for _ in boxes]), labels) for boxes, _, labels in found], truth


def sized(boxes) -> list:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()


def judged(found, truth) -> dict[str, np.ndarray]:
    """AP in percent, and the gain and count of each kind of error."""
    given, predicted = tidecv.Data("truth"), tidecv.Data("found")
    for image, (detections, objects) in enumerate(zip(found, truth, strict=True)):
        given.add_image(image, str(image))
        for box, label in zip(sized(objects[0]), objects[1], strict=True):
            given.add_ground_truth(image, int(label), box)
        for box, score, label in zip(sized(detections[0]), *detections[1:], strict=True):
            predicted.add_detection(image, int(label), float(score), box)
    run = tidecv.TIDE().evaluate(given, predicted, mode=tidecv.TIDE.BOX)
    gains = {error.short_name: value for error, value in run.fix_main_errors().items()}
    counts = {error.short_name: value for error, value in run.count_errors().items()}
    return {"ap": np.array(run.ap), "gains": np.array([gains[name] for name in NAMES]),
            "counts": np.array([counts[name] for name in NAMES])}


def main() -> None:
    scored, found, truth = [], [], []
    for seed in range(SETS):
        own, objects = unlike(np.random.default_rng(seed), IMAGES, np.array([3, 17, 90]))
        scored.append(judged(own, objects))
        found += own
        truth += [image[:2] for image in objects]
    results = {name: np.array([score[name] for score in scored]) for name in scored[0]}
    for name, images in (("found", found), ("truth", truth)):
        results[f"{name}/rows"] = np.array([len(image[0]) for image in images])
        for column, values in enumerate(zip(*images, strict=True)):
            results[f"{name}/{column}"] = np.concatenate(values)
    np.savez_compressed(FOLDER / "detection_errors.npz", **results)


if __name__ == "__main__":
    main()
