"""From the start of the process to the first training step's loss, with the quickstart's configuration.

    python -m benchmarks.startup [--config=quickstart] [--out=benchmarks/results/startup]

Runs geodesic train twice, in processes of their own with a compilation cache of their own: cold, with the cache
empty, and warm, with what the first run left there. Both stop once they have printed the loss of the first step. What
they print is read with its time: the state exists ("training in"), the summary is told, step 0 has been evaluated, the
first step is done. jax tells the seconds of every trace, lowering and compilation besides (JAX_LOG_COMPILES). Imports
are those of `python -c "import geodesic.experiments.train"`. One start of each: seconds to read, not a ratio to rely
on. About a minute.
"""

import itertools
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

from absl import app, flags

ROOT = pathlib.Path(__file__).parents[1]
# What the program prints -> what it has done by then.
MARKS = ((r"^training in ", "state made"), (r"^  start loss ", "summary told"), (r"^step 0: test ", "step 0 evaluated"),
         (r"^step +1/\d+  loss ", "first step's loss"))
PHASES = ("imports", "data, state made", "summary told", "step 0 evaluated", "first step's loss")
_LOGGED = re.compile(r"Finished (tracing|jaxpr to MLIR|XLA compilation).* in ([\d.]+) sec")
KINDS = {"tracing": "tracing", "jaxpr to MLIR": "lowering", "XLA compilation": "compiling"}


def define_flags() -> None:
    flags.DEFINE_string("config", "configs/quickstart.py", "What is trained.")
    flags.DEFINE_string("out", str(ROOT / "benchmarks" / "results" / "startup"), "Where to write .json and .md.")


def seconds_of_imports(environment: dict) -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import geodesic.experiments.train"], cwd=ROOT, env=environment, check=True)
    return time.monotonic() - started


def watch(lines, now=time.monotonic, stop=lambda: None) -> dict:
    """What the lines of a run tell: seconds, by mark since the call and by jax's kind of work.

    stop: called at the last mark. Raises ValueError if the lines end before it.
    """
    started, marks, work = now(), {}, dict.fromkeys(KINDS.values(), 0.0)
    tail = []
    for line in lines:
        tail = [*tail[-4:], line.rstrip()]
        if logged := _LOGGED.search(line):
            if MARKS[-1][1] not in marks:
                work[KINDS[logged[1]]] += float(logged[2])
            continue
        for pattern, mark in MARKS:
            if re.match(pattern, line) and mark not in marks:
                marks[mark] = now() - started
                if mark == MARKS[-1][1]:
                    stop()
    if MARKS[-1][1] not in marks:
        raise ValueError(f"the run ended before its first step: {' | '.join(tail)}")
    return {"marks": marks, "work": work}


def start(config: str, folder: pathlib.Path, cache: pathlib.Path) -> dict:
    """One start, up to the first step's loss."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_LOG_COMPILES": "1",
                                "PYTHONUNBUFFERED": "1"}
    imports = seconds_of_imports(environment)
    command = [sys.executable, "-m", "geodesic.experiments.train", f"--config={config}", f"--workdir={folder}",
               "--config.run.log_every_steps=1"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as program:
        try:
            found = watch(program.stdout, stop=lambda: program.send_signal(signal.SIGTERM))
        finally:
            program.kill()
    return found | {"imports": imports}


def phases(found: dict) -> dict[str, float]:
    """Seconds of each phase; together, those to the first step's loss."""
    marks = [found["marks"][mark] for _, mark in MARKS]
    times = [0.0, min(found["imports"], marks[0]), *marks]  # imports were timed by themselves
    return dict(zip(PHASES, (later - earlier for earlier, later in itertools.pairwise(times)), strict=True))


def markdown(record: dict) -> str:
    lines = ["# From the start to the first training step", "", f"`{record['config']}`, seconds:", "",
             "| | cold cache | warm cache |", "|---|---|---|"]
    cold, warm = (phases(record[name]) for name in ("cold", "warm"))
    lines += [f"| {name} | {cold[name]:.2f} | {warm[name]:.2f} |" for name in PHASES]
    lines.append(f"| **in all** | **{sum(cold.values()):.2f}** | **{sum(warm.values()):.2f}** |")
    lines += [f"| of which jax was {kind} | {record['cold']['work'][kind]:.2f} | {record['warm']['work'][kind]:.2f} |"
              for kind in KINDS.values()]
    environment, (first, last) = record["environment"], record["load_average"]
    return "\n".join([
        *lines, "", "Each phase ends with what it is called. Tracing counts functions within functions twice; with a "
        "warm cache, compiling is reading.", "", f"{environment['machine']}, {environment['devices']}, python "
        f"{environment['python']}, jax {environment['packages']['jax']}, {environment['date'][:10]}, one start of "
        f"each. Load average {first:.1f} at the start and {last:.1f} at the end: above {os.cpu_count()}, other work "
        "shared the machine.", "", "`python -m benchmarks.startup`"]) + "\n"


def main(_) -> None:
    options = flags.FLAGS
    load = os.getloadavg()[0]
    record = {"config": options.config}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "warm"):
            record[name] = start(options.config, pathlib.Path(folder) / name, pathlib.Path(folder) / "cache")
            print(name, phases(record[name]), flush=True)
    import jax

    from geodesic.experiments.process import workdir

    record |= {"load_average": [load, os.getloadavg()[0]], "environment": workdir.environment(jax.devices())}
    out = pathlib.Path(options.out)
    workdir.write_json(out.with_suffix(".json"), record)
    workdir.write_atomically(out.with_suffix(".md"), markdown(record).encode())
    print(markdown(record))


if __name__ == "__main__":
    define_flags()
    app.run(main)
