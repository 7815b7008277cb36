"""A gallery over HTTP: 100 clients at once for a minute, beside one at a time, and whether their answers are right.

    python -m benchmarks.serve --workdir=runs/faces --gallery=people --images=photos [--clients=100] [--seconds=60]

`geodesic serve` runs in a process of its own, its clients in this one, over loopback, each with one connection on which
it sends the next picture when the last one was answered. One client and many take turns, --rounds times. Every answer
is held against that of `geodesic gallery search` for the same pictures, bit for bit.
"""

import asyncio
import collections
import datetime
import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import turns

_OUT = pathlib.Path(__file__).parent / "results" / "serve"
_LINE = "-----------------------------picture"
_COPIES = 16  # pictures that are sent; each is a copy, as a row would not find itself by its path


def request(content: bytes) -> bytes:
    head = f'--{_LINE}\r\nContent-Disposition: form-data; name="picture"; filename="picture"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{_LINE}--\r\n".encode()
    return (f"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: multipart/form-data; boundary={_LINE}\r\n\r\n").encode() + body


async def client(port: int, requests: list[bytes], first: int, until: float, told: list) -> None:
    """told: gets (place of the picture, seconds, status, content) of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    place = first
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(requests[place % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        content = await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
        told.append((place % len(requests), time.perf_counter() - started, int(head[9:12]), content))
        place += 1
    writer.close()


async def load(port: int, requests: list[bytes], clients: int, seconds: float) -> tuple[list, float]:
    """(all answers, seconds that they took together)."""
    told, started = [], time.perf_counter()
    await asyncio.gather(*(client(port, requests, place, started + seconds, told) for place in range(clients)))
    return told, time.perf_counter() - started


def measured(told: list, seconds: float, expected: list) -> dict:
    times = [took for _, took, status, _ in told if status == 200]
    right = sum(json.loads(content)["hits"] == expected[place] for place, _, status, content in told if status == 200)
    statuses = collections.Counter(str(status) for _, _, status, _ in told)
    return {"answers_per_second": len(times) / seconds, "p50_ms": 1e3 * float(np.percentile(times, 50)),
            "p99_ms": 1e3 * float(np.percentile(times, 99)), "statuses": dict(statuses), "right": right}


def asked(options) -> tuple[list[bytes], list]:
    """(requests, the hits that the command finds for each)."""
    files = sorted(path for path in pathlib.Path(options.images).rglob("*") if path.is_file())
    files = [files[place] for place in np.unique(np.linspace(0, len(files) - 1, _COPIES).astype(int))]
    with tempfile.TemporaryDirectory() as folder:
        for place, file in enumerate(files):
            pathlib.Path(folder, f"{place:02}{file.suffix}").write_bytes(file.read_bytes())
        done = subprocess.run([sys.executable, "-m", "geodesic", "gallery", "search", f"--workdir={options.workdir}",
                               f"--gallery={options.gallery}", f"--images={folder}", "--format=json"], text=True,
                              stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)["queries"]
    if len(found) != len(files):
        sys.exit(f"error: only {len(found)} of {len(files)} files of {options.images} are pictures that can be read")
    return [request(file.read_bytes()) for file in files], [one["hits"] for one in found]


def table(record: dict) -> str:
    lines = ["# A gallery over HTTP", "", f"`{record['command']}`, {record['date']}. {record['hardware']}; "
             f"{', '.join(f'{name} {version}' for name, version in record['versions'].items())}. Load average "
             f"{record['load_average'][0]:.1f} at the start, {record['load_average'][1]:.1f} at the end, with the "
             f"server and its clients.", "", f"{record['server']}.", "",
             "| clients | answers a second | p50 ms | p99 ms | other than 200 | equal to the command's |",
             "|---|---|---|---|---|---|"]
    for clients, rounds in record["rounds"].items():
        of = lambda name, rounds=rounds: [one[name] for one in rounds]
        total = sum(one["statuses"].get("200", 0) for one in rounds)
        others = sum(sum(one["statuses"].values()) for one in rounds) - total
        lines.append(f"| {clients} | {turns.show(of('answers_per_second'))} | {turns.show(of('p50_ms'))} | "
                     f"{turns.show(of('p99_ms'))} | {others:,} | {sum(of('right')):,} of {total:,} |")
    lines += ["", f"Pictures to a batch of the network, on average: {record['pictures_per_batch']:.2f}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    options = turns.options(__doc__, workdir="", gallery="", images="", clients=100, seconds=60.0, rounds=3, batch=0,
                            out=str(_OUT))
    before = os.getloadavg()[0]
    requests, expected = asked(options)
    server = subprocess.Popen(
        [sys.executable, "-m", "geodesic", "serve", f"--workdir={options.workdir}", f"--gallery={options.gallery}",
         "--port=0", f"--batch={options.batch}"], stdout=subprocess.PIPE, text=True)
    try:
        said = []
        for line in server.stdout:
            said.append(line.strip())
            if found := re.search(r"listening on http://127.0.0.1:(\d+)", line):
                break
        else:
            sys.exit(server.wait())
        port = int(found[1])
        rounds = {1: [], options.clients: []}
        for turn in range(options.rounds + 1):
            for clients in rounds:
                seconds = options.seconds if turn else 3.0
                found = measured(*asyncio.run(load(port, requests, clients, seconds)), expected)
                if turn:  # the first warms up
                    rounds[clients].append(found)
        told = asyncio.run(load_metrics(port))
    finally:
        server.terminate()
        server.wait()
    record = {
        "command": f"python -m benchmarks.serve --clients={options.clients} --seconds={options.seconds:g} "
                   f"--rounds={options.rounds}" + (f" --batch={options.batch}" if options.batch else ""),
        "date": datetime.date.today().isoformat(), "server": said[0], "rounds": rounds, "pictures_per_batch": told,
        "hardware": f"{os.cpu_count()} cores, " + next(line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                                                       if line.startswith("model name")),
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "fastapi", "uvicorn", "lancedb")},
        "load_average": [before, os.getloadavg()[0]]}
    turns.write(options.out, record, table(record))
    print(table(record))


async def load_metrics(port: int) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    of = lambda name: float(re.search(rf"^geodesic_batch_pictures_{name} (\S+)", text, re.MULTILINE)[1])
    return of("sum") / of("count")


if __name__ == "__main__":
    main()
