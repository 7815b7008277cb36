"""From a folder of photographs to a page in the browser: the five commands of the README, timed.

    python -m benchmarks.story [--images=FOLDER] [--trained=RUN] [--out=benchmarks/results/story]

The photographs are those of the ORL faces, a folder for each person, unless --images names others. --trained leaves the
first two commands out, and takes a run that is there. The page counts as open when a headless Chromium shows the
neighbours of a photograph; where there is no Chromium, when the server has sent the page and found them.
"""

import datetime
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

from benchmarks import turns
from geodesic import datasets

_OUT = pathlib.Path(__file__).parent / "results" / "story"
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TRAIN = ("train --config=quickstart --workdir={run} --config.train_data.classes='(0, 20)' "
         "--config.test_data.classes='(20, 30)'", "calibrate --workdir={run} --far=1e-2 --source=orl_faces "
         "--classes=30,40")
CREATE = "gallery create --workdir={run} --gallery=people --images=photos"
SERVE = "serve --workdir={run} --gallery=people"


def command(text: str, run: str) -> list[str]:
    return [sys.executable, "-m", "geodesic", *shlex.split(text.format(run=run))]


def opened(address: str, row: str) -> str:
    """Waits until the page shows the neighbours of a row; says how it was opened."""
    page = f"{address}/#{urllib.parse.urlencode({'id': row})}"
    if _CHROMIUM:
        with tempfile.TemporaryDirectory() as profile:
            done = subprocess.run(
                [_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom", page],
                capture_output=True, text=True, timeout=300, check=False)
        shown = len(re.findall(r'<button class="open"', done.stdout))
        how = f"a headless Chromium, {shown} neighbours on it"
    else:
        urllib.request.urlopen(address).read()
        shown = len(json.load(urllib.request.urlopen(page.replace("/#", "/search?")))["hits"])
        how = f"asked by urllib, {shown} neighbours in the answer"
    if not shown:
        sys.exit("error: the page shows no neighbours")
    return how


def story(folder: pathlib.Path, trained: str) -> list[tuple[str, float]]:
    """(what, seconds) of each command."""
    told, run = [], trained or "runs/faces"
    for text in (*(() if trained else TRAIN), CREATE):
        started = time.perf_counter()
        subprocess.run(command(text, run), cwd=folder, check=True, stdout=subprocess.DEVNULL)
        told.append((f"geodesic {text.format(run=run)}", time.perf_counter() - started))
    started = time.perf_counter()
    with subprocess.Popen([*command(SERVE, run), "--port=0"], cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = next(line.split()[-1] for line in server.stdout if line.startswith("listening on"))
            told.append((f"geodesic {SERVE.format(run=run)}", time.perf_counter() - started))
            started = time.perf_counter()
            row = next(str(path) for path in sorted((folder / "photos").rglob("*")) if path.is_file())
            told.append((f"the page, by {opened(address, row)}", time.perf_counter() - started))
        finally:
            server.terminate()
            server.communicate()
    return told


def main() -> None:
    options = turns.options(__doc__, images="", trained="", out=str(_OUT))
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        people = options.images or pathlib.Path(datasets.build("orl_faces").paths[0]).parents[1]
        shutil.copytree(people, folder / "photos", ignore=shutil.ignore_patterns("README"))
        count = sum(path.is_file() for path in (folder / "photos").rglob("*"))
        told = story(folder, options.trained and os.path.abspath(options.trained))
    hardware = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    record = {"date": datetime.date.today().isoformat(), "photographs": count, "seconds": told,
              "hardware": f"{os.cpu_count()} cores, {hardware}", "load_average": os.getloadavg()[0]}
    lines = ["# From a folder of photographs to a page in the browser", "",
             f"`python -m benchmarks.story`, {record['date']}. {count:,} photographs; {record['hardware']}; load "
             f"average {record['load_average']:.1f} at the end.", "", "| command | seconds |", "|---|---|"]
    lines += [f"| `{what}` | {seconds:.1f} |" for what, seconds in told]
    lines += [f"| in all | {sum(seconds for _, seconds in told):.1f} |", ""]
    turns.write(options.out, record, "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
