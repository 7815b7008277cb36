"""Images per second of one core, from files to batches, in turns with torch's DataLoader and others.

    python -m benchmarks.input_rate --photos=FOLDER_OR_ZIP [--rounds=5] [--images=1024] [--out=PATH_WITHOUT_SUFFIX]

Three cases: the given photographs and two of 427 x 640 that scikit-learn carries (decode, random-resized-crop to 224,
flip, batches of 64), and faces (the ORL faces as JPEGs of 112 x 112: decode, flip). Each contestant is a process of
its own and has one thread or worker. In each round each makes so many images, and is charged the seconds of processor
that it and its workers used: other work on the machine then matters little. Needs requirements-peers.txt for the peers;
those that are not installed are left out, and named.
"""

import datetime
import importlib.util
import itertools
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

import numpy as np
import psutil

from benchmarks import turns

BATCH = 64
FACES_MORE = 8  # the clock of a processor's seconds ticks a hundred times a second
RESULTS = pathlib.Path(__file__).parent / "results"
ROOT = pathlib.Path(__file__).parent.parent
# Contestant -> what must be installed.
NEEDS = {"geodesic": (), "torch DataLoader, torchvision": ("torch", "torchvision"), "grain, Pillow": (),
         "Pillow in a loop": (), "tf.data": ("tensorflow",)}
CASES = {"photographs": "the given photographs -> 224", "photographs of 427 x 640": "scikit-learn's two -> 224",
         "faces": "ORL faces, 112 x 112 -> 112"}


def main() -> None:
    options = turns.options(__doc__, photos="", rounds=5, images=1024, out=str(RESULTS / "input_rate"), contestant="",
                            folder="", case="")
    if options.contestant:
        return serve(options.contestant, options.folder, options.case)
    if not options.photos:
        sys.exit("error: --photos=FOLDER_OR_ZIP is required: a folder of JPEGs with a sub-folder for each class")
    present = [name for name, needs in NEEDS.items() if all(importlib.util.find_spec(need) for need in needs)]
    left_out = [name for name in NEEDS if name not in present]
    for name in left_out:
        print(f"not installed, left out: {name}")
    with tempfile.TemporaryDirectory() as temporary:
        folders = photos(options.photos, temporary), large(temporary), faces(temporary)
        cases = {case: measure(case, folder, present, options.rounds, options.images)
                 for case, folder in zip(CASES, folders, strict=True)}
    write(cases, options, left_out)


def photos(path: str, temporary: str) -> str:
    if not path.endswith(".zip"):
        return path
    with zipfile.ZipFile(path) as file:
        file.extractall(os.path.join(temporary, "photos"))
    return os.path.join(temporary, "photos")


def large(temporary: str) -> str:
    from sklearn import datasets as sklearn_datasets

    folder = pathlib.Path(temporary) / "large"
    for name, index in itertools.product(("china", "flower"), range(64)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(pathlib.Path(sklearn_datasets.__file__).parent / "images" / f"{name}.jpg",
                    folder / name / f"{index}.jpg")
    return str(folder)


def faces(temporary: str) -> str:
    import cv2

    from geodesic import datasets

    source = datasets.build("orl_faces")
    folder = pathlib.Path(temporary) / "faces"
    for index in range(len(source)):
        path = folder / str(source.labels[index]) / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.resize(datasets.decode(source[index]), (112, 112)), [cv2.IMWRITE_JPEG_QUALITY, 95])
    return str(folder)


def measure(case: str, folder: str, contestants: list[str], rounds: int, images: int) -> dict[str, dict]:
    """Contestant -> {"per_core": images per processor second, "per_second": by the clock}, one of each a round."""
    processes = {name: subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.input_rate", f"--contestant={name}", f"--folder={folder}",
         f"--case={case}"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in contestants}
    more = FACES_MORE if case == "faces" else 1
    return turns.asked(processes, rounds, lambda turn, _: images * more if turn else 2 * BATCH, f"{case}, ")


def serve(name: str, folder: str, case: str) -> None:
    """A contestant: for each number of images on stdin, the rates on stdout."""
    os.environ["OMP_NUM_THREADS"] = "1"
    make = {"geodesic": geodesic, "torch DataLoader, torchvision": torch_loader, "grain, Pillow": plain_grain,
            "Pillow in a loop": pillow_loop, "tf.data": tf_data}[name]
    for line in sys.stdin:
        batches = make(folder, case == "faces")
        shape = next(batches).shape
        assert shape[0] == BATCH and sorted(shape[1:])[0] == 3, shape
        count = int(line) // BATCH
        used, started = processor_seconds(), time.perf_counter()
        for _ in range(count):
            next(batches)
        used, elapsed = processor_seconds() - used, time.perf_counter() - started
        print(json.dumps({"per_core": count * BATCH / used, "per_second": count * BATCH / elapsed}), flush=True)
        getattr(batches, "close", lambda: None)()
        del batches


def processor_seconds() -> float:
    """Of this process and its workers."""
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (me, *me.children(recursive=True)))


def geodesic(folder: str, is_face: bool):
    from geodesic import datasets
    from geodesic.configs import default

    config = default.get_config()
    config.input.image_size = 112 if is_face else 224
    config.augment.random_resized_crop = not is_face
    batches = datasets.train_batches(
        datasets.build("image_folder", path=folder), input=config.input, augment=config.augment,
        sampling=config.sampling, batch_size=BATCH, seed=0, process_index=0, process_count=1, threads=1, buffer=2)
    try:
        while True:
            yield next(batches)["image"]
    finally:
        batches.close()


def torch_loader(folder: str, is_face: bool):
    import torch
    from torchvision import datasets as tv_datasets
    from torchvision import transforms

    torch.set_num_threads(1)
    crop = [] if is_face else [transforms.RandomResizedCrop(224)]
    chain = transforms.Compose([*crop, transforms.RandomHorizontalFlip(), transforms.PILToTensor()])
    data = tv_datasets.ImageFolder(folder, chain)
    sampler = torch.utils.data.RandomSampler(data, replacement=True, num_samples=2 ** 40)
    loader = torch.utils.data.DataLoader(data, BATCH, sampler=sampler, num_workers=1)
    for images, _ in loader:
        yield images


def plain_grain(folder: str, is_face: bool):
    import grain

    files = _files(folder)
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2 * BATCH)
    data = grain.MapDataset.source(files).seed(0).shuffle().repeat().random_map(
        lambda path, rng: _pillow(path, rng, is_face))
    yield from data.to_iter_dataset(options).batch(BATCH)


def pillow_loop(folder: str, is_face: bool):
    files, rng = _files(folder), np.random.default_rng(0)
    while True:
        yield np.stack([_pillow(files[index], rng, is_face) for index in rng.integers(len(files), size=BATCH)])


def _pillow(path: str, rng: np.random.Generator, is_face: bool) -> np.ndarray:
    import PIL.Image

    from geodesic.datasets import crops

    with PIL.Image.open(path) as opened:
        image = opened.convert("RGB")
    if not is_face:
        top, left, height, width = crops.random_resized(
            image.height, image.width, rng.uniform(size=(crops.TRIES, 2)), rng.uniform(size=2), (0.08, 1), (0.75, 1.33))
        image = image.crop((left, top, left + width, top + height)).resize((224, 224), PIL.Image.Resampling.BILINEAR)
    return np.array(image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if rng.uniform() < 0.5 else image)


def tf_data(folder: str, is_face: bool):
    import tensorflow as tf

    def load(path):
        content = tf.io.read_file(path)
        if is_face:
            image = tf.io.decode_jpeg(content, channels=3)
        else:
            begin, size, _ = tf.image.sample_distorted_bounding_box(
                tf.io.extract_jpeg_shape(content), tf.zeros((1, 0, 4)), area_range=(0.08, 1.0),
                aspect_ratio_range=(3 / 4, 4 / 3), use_image_if_no_bounding_boxes=True)
            window = tf.stack([begin[0], begin[1], size[0], size[1]])
            image = tf.image.resize(tf.image.decode_and_crop_jpeg(content, window, channels=3), (224, 224))
        return tf.cast(tf.image.random_flip_left_right(image), tf.uint8)

    data = tf.data.Dataset.from_tensor_slices(_files(folder)).repeat().shuffle(10_000).map(load, num_parallel_calls=1)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    yield from data.batch(BATCH).prefetch(2).with_options(options).as_numpy_iterator()


def _files(folder: str) -> list[str]:
    return sorted(str(path) for path in pathlib.Path(folder).rglob("*.jpg"))


def write(cases: dict, options, left_out: list[str]) -> None:
    import importlib.metadata

    packages = ("simplejpeg", "opencv-python-headless", "pillow", "grain", "numpy", "torch", "torchvision",
                "tensorflow")
    versions = {name: importlib.metadata.version(name) for name in packages if _installed(name)}
    with open("/proc/cpuinfo") as file:
        processor = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    record = {"date": str(datetime.date.today()), "machine": f"{processor}, {os.cpu_count()} cores",
              "load": os.getloadavg()[0], "rounds": options.rounds, "images": options.images,
              "photos": os.path.basename(options.photos), "left_out": left_out, "versions": versions, "cases": cases}
    lines = ["# Input rate", "", "Images per second of one processor core, from files to batches of 64: median of the "
             "rounds (least to most).", "",
             "| case | " + " | ".join(next(iter(cases.values()))) + " | ratio to the best peer |",
             "|---" * (len(next(iter(cases.values()))) + 2) + "|"]
    for case, results in cases.items():
        medians = {name: statistics.median(result["per_core"]) for name, result in results.items()}
        ratio, best = ratio_to_best(results)
        lines.append(f"| {case}: {CASES[case]} | " + " | ".join(
            f"{medians[name]:,.0f} ({min(result['per_core']):,.0f} to {max(result['per_core']):,.0f})"
            for name, result in results.items()) + f" | {ratio:.2f} ({best}) |")
    lines += ["", f"The ratio is the median of the rounds' own. {record['rounds']} rounds of {record['images']} images "
              f"(faces: {FACES_MORE} times as many), in turns, one thread or worker each; photographs: "
              f"{record['photos']}. {record['machine']}, load "
              f"{record['load']:.1f} at the end, {record['date']}, "
              + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
              + (f" Not installed: {', '.join(left_out)}." if left_out else ""), "",
              "`python -m benchmarks.input_rate --photos=...`", ""]
    pathlib.Path(f"{options.out}.json").write_text(json.dumps(record, indent=1) + "\n")
    pathlib.Path(f"{options.out}.md").write_text("\n".join(lines))
    print("\n".join(lines))


def ratio_to_best(results: dict[str, dict]) -> tuple[float, str]:
    """Ours to the peer with the best median, round by round: the median ratio, and the peer."""
    peers = {name: result["per_core"] for name, result in results.items() if name != "geodesic"}
    best = max(peers, key=lambda name: statistics.median(peers[name]))
    return statistics.median(ours / theirs for ours, theirs in
                             zip(results["geodesic"]["per_core"], peers[best], strict=True)), best


def _installed(name: str) -> bool:
    import importlib.metadata

    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
