"""What RandAugment, AugMix, mixup and cutmix cost the loader: images per second of one core, and ratios to without.

    python -m benchmarks.augmentations --photos=FOLDER_OR_ZIP [--rounds=5] [--images=4096] [--out=PATH_WITHOUT_SUFFIX]

All decode photographs, crop them at random to 224 and flip them, in batches of 64. Each is a process of its own with
one thread, charged its processor seconds; in each round each makes so many images, in turns. Ratios are of one round.
"""

import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import input_rate, turns

ROOT = pathlib.Path(__file__).parent.parent
# Name -> fields of the section `augment`; the first is what the others are compared with.
CASES = {
    "crop and flip": {},
    "RandAugment, 2 operations of magnitude 9": {"rand_augment_ops": 2, "rand_augment_magnitude": 9},
    "AugMix, severity 3": {"augmix_severity": 3},
    "mixup": {"mixup_alpha": 0.2},
    "cutmix": {"cutmix_alpha": 1.0},
    "colour jitter": {"color_jitter": (0.4, 0.4, 0.4, 0.1)},
}


def main() -> None:
    options = turns.options(__doc__, photos="", rounds=5, images=4096, out=str(input_rate.RESULTS / "augmentations"),
                            case="", folder="")
    if options.case:
        return serve(options.folder, CASES[options.case])
    if not options.photos:
        sys.exit("error: --photos=FOLDER_OR_ZIP is required: a folder of JPEGs with a sub-folder for each class")
    with tempfile.TemporaryDirectory() as temporary:
        folder = input_rate.photos(options.photos, temporary)
        processes = {name: subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.augmentations", f"--case={name}", f"--folder={folder}"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in CASES}
        found = turns.asked(processes, options.rounds, lambda turn, _: options.images if turn else 2 * input_rate.BATCH)
    write(found, options)


def serve(folder: str, augment: dict) -> None:
    """For each number of images on stdin, the rates on stdout."""
    from geodesic import datasets
    from geodesic.configs import default

    config = default.get_config()
    config.input.image_size = 224
    config.augment.update(random_resized_crop=True, **augment)
    batches = datasets.train_batches(
        datasets.build("image_folder", path=folder), input=config.input, augment=config.augment,
        sampling=config.sampling, batch_size=input_rate.BATCH, seed=0, process_index=0, process_count=1, threads=1,
        buffer=2)
    for line in sys.stdin:
        next(batches)
        count = int(line) // input_rate.BATCH
        used, started = input_rate.processor_seconds(), time.perf_counter()
        for _ in range(count):
            next(batches)
        used, elapsed = input_rate.processor_seconds() - used, time.perf_counter() - started
        print(json.dumps({"per_core": count * input_rate.BATCH / used,
                          "per_second": count * input_rate.BATCH / elapsed}), flush=True)
    batches.close()


def ratios(found: dict[str, dict]) -> dict[str, list[float]]:
    """Name -> its rate over that of the first, round by round."""
    first = next(iter(found.values()))["per_core"]
    return {name: [one / plain for one, plain in zip(rates["per_core"], first, strict=True)]
            for name, rates in found.items()}


def write(found: dict[str, dict], options) -> None:
    import importlib.metadata

    with open("/proc/cpuinfo") as file:
        processor = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    versions = {name: importlib.metadata.version(name) for name in ("opencv-python-headless", "numpy", "simplejpeg")}
    record = {"date": str(datetime.date.today()), "machine": f"{processor}, {os.cpu_count()} cores",
              "load": os.getloadavg()[0], "rounds": options.rounds, "images": options.images,
              "photos": os.path.basename(options.photos), "versions": versions, "found": found}
    lines = ["# What augmentations cost", "", "Images per second of one processor core, photographs to batches of 64 "
             "at 224 pixels: median of the rounds (least to most), and the median ratio to the first row.", "",
             "| augmentation | images/s | ratio |", "|---|---|---|"]
    for name, values in ratios(found).items():
        rates = found[name]["per_core"]
        lines.append(f"| {name} | {statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) | "
                     f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}) |")
    lines += ["", f"{record['rounds']} rounds of {record['images']} images, in turns; photographs: {record['photos']}. "
              f"{record['machine']}, load {record['load']:.1f} at the end, {record['date']}, "
              + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".", "",
              "`python -m benchmarks.augmentations --photos=...`", ""]
    pathlib.Path(f"{options.out}.json").write_text(json.dumps(record, indent=1) + "\n")
    pathlib.Path(f"{options.out}.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
