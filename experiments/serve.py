"""Serves a gallery over HTTP, with a page to search it by pictures. docs/serve.md has every path.

    geodesic serve --workdir=runs/faces --gallery=people
    geodesic serve --workdir=runs/faces --gallery=people --host=0.0.0.0 --port=80 --token=SECRET

Whoever can reach it may search. What writes (adding, removing, marking) takes the token, which is left out on this
machine's own address alone. It stops at Ctrl-C or SIGTERM, when it has answered what was asked: exit status 0.
"""

import importlib.util
import logging
import os
import warnings

import PIL.Image
from absl import flags

from geodesic.errors import UserError
from geodesic.experiments.galleries.gallery import Gallery
from geodesic.experiments.process import cli, hosts
from geodesic.experiments.trained import loading

_NEEDED = ("fastapi", "uvicorn", "python_multipart")
_LOCAL = ("127.0.0.1", "localhost", "::1")


def define_flags() -> None:
    flags.DEFINE_string("gallery", "", "Folder of the gallery.")
    flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; 0.0.0.0 is all of this machine's.")
    flags.DEFINE_integer("port", 8000, "Port to listen on; 0 takes any that is free.")
    flags.DEFINE_string("token", "", "What writes must say it; default: the environment's GEODESIC_TOKEN. Required "
                        "where --host is not this machine's own address.")
    flags.DEFINE_float("threshold", None, "Below this cosine a picture is unknown; default: as `geodesic calibrate` "
                       "has set.")
    flags.DEFINE_float("far", 0.0, "The threshold of this false accept rate; 0 = of the smallest there is.")
    flags.DEFINE_string("added", "", "Folder for pictures that are added; default: added in --gallery.")
    flags.DEFINE_string("marks", "", "File for what is marked as same or different; default: marks.jsonl in --gallery.")
    flags.DEFINE_list("pictures", [], "Folders, the only ones whose pictures are shown; default: wherever rows say.")
    flags.DEFINE_integer("batch", 0, "Pictures that go through the network together; default: as many as in a search "
                         "of geodesic gallery, 1 on a CPU and 16 elsewhere.")
    flags.DEFINE_float("wait_ms", 3.0, "For so long the first picture of a batch waits for others.")
    flags.DEFINE_float("most_mb", 20.0, "A request has so many megabytes at most.")
    flags.DEFINE_float("most_megapixels", 50.0, "A picture has so many megapixels at most.")
    flags.DEFINE_float("seconds", 30.0, "A request and its answer take so long at most.")
    flags.DEFINE_integer("requests", 256, "So many are answered at once; the others are told to come again.")


def main(config, values) -> None:
    hosts.must_be_alone("geodesic serve")
    _check(values)
    from geodesic.experiments.serving import app, limits, listening, marks, metrics, model, pictures, rows

    PIL.Image.MAX_IMAGE_PIXELS = max(int(1e6 * values.most_megapixels), 1)  # a second wall, behind our own
    warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a line for every bad form
    with listening.opened(values.host, values.port) as listener:
        config.run.loader_workers = 0  # processes that would be started for every picture that is added
        run = loading.load(values.workdir, config)
        batch = _batch(values.batch, run)
        Gallery(values.gallery, run).check_bound()
        told = metrics.Metrics()
        served = model.Model(run, batch, values.wait_ms / 1000, int(1e6 * values.most_megapixels), told.batch)
        galleries = [Gallery(values.gallery, served.run) for _ in range(2)]
        kept = rows.Rows(*galleries, values.added or os.path.join(values.gallery, "added"), values.threshold,
                         values.far)
        service = app.Service(
            served, kept, marks.Marks(values.marks or os.path.join(values.gallery, "marks.jsonl")), told,
            limits.Limits(_token(values), int(1e6 * values.most_mb), values.requests, values.seconds),
            [pictures.resolved(folder) for folder in values.pictures])
        limit = kept.threshold()
        print(f"{kept.count():,} row(s) of {galleries[0].path}, of {run!r}; "
              + ("no threshold: nothing is called unknown" if limit is None else f"threshold {limit:.4f}"), flush=True)
        made = app.make(service)
        host, port = listener.getsockname()[:2]
        print(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        try:
            listening.serve(made, listener, values.seconds)
        finally:
            made.close()
    print("stopped", flush=True)


def _check(values) -> None:
    """Raises UserError for what can be seen before a model is loaded."""
    missing = [name.replace("_", "-") for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"serving needs {', '.join(missing)}, not installed: pip install 'geodesic[serve]'")
    gallery = Gallery(values.gallery)
    gallery.opened()  # whether it is there
    if not os.path.isdir(values.gallery) and not (values.added and values.marks):
        raise UserError(f"{gallery.path} is no folder: give --added=FOLDER and --marks=FILE, where what comes over the "
                        f"network is kept")
    if values.host not in _LOCAL and not _token(values):
        raise UserError(f"--host={values.host} can be reached from other machines: give a --token, which whoever adds, "
                        f"removes or marks pictures must say")
    if not _token(values).isascii() or not _token(values).isprintable() or " " in _token(values):
        raise UserError("--token is of printable ASCII, without spaces")
    for name, least in (("port", 0), ("batch", 0), ("wait_ms", 0), ("most_mb", 0.001), ("most_megapixels", 0.001),
                        ("seconds", 0.1), ("requests", 1)):
        if getattr(values, name) < least:
            raise UserError(f"--{name} is at least {least:g}; got {getattr(values, name):g}")
    for folder in values.pictures:
        if not os.path.isdir(folder):
            raise UserError(f"--pictures: there is no folder {folder!r}")


def _token(values) -> str:
    return values.token or os.environ.get("GEODESIC_TOKEN", "")


def _batch(wanted: int, run) -> int:
    devices = run.mesh.size
    if wanted % devices:
        raise UserError(f"--batch={wanted} does not divide into {devices} devices")
    return wanted or run.query_batch


if __name__ == "__main__":
    cli.run(main, define_flags, required=("workdir", "gallery"), alone=True, buckets=("workdir",))
