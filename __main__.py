"""`geodesic PROGRAM --flags`: starts one of the programs in experiments/."""

import difflib
import runpy
import sys

# In the order in which people meet them, each with its line of `geodesic --help`.
PROGRAMS = {
    "train": "trains an embedder; the same command again goes on where it stopped",
    "evaluate": "measures a trained run on classes it never saw, or by a paper's protocol",
    "scorecard": "judges one checkpoint on everything, beside an untrained network, pixels and a reference",
    "report": "writes one self-contained HTML page about a run",
    "embed": "turns a folder of images into vectors",
    "search": "finds the vectors nearest to an image, or to many",
    "gallery": "keeps a searchable gallery of pictures: adds, removes, searches, bound to its model",
    "cluster": "groups pictures by what they show, without being told which groups there are",
    "duplicates": "finds pictures that are the same file, the same pixels, or edited copies",
    "recommend": "finds more pictures like these, and unlike those",
    "serve": "answers searches of a gallery over HTTP, with a page for them",
    "probe": "says how well a linear classifier on frozen features names classes, and with how few labels",
    "predict": "names what pictures show, by a run's or public weights' classifier",
    "detect": "finds objects in pictures by a trained detector: boxes, classes, scores",
    "find": "names the boxes of a detector by the vectors of an embedder, or as unknown",
    "calibrate": "sets the threshold from which two images count as one identity",
    "verify": "decides by that threshold whether two images show one identity",
    "explain": "shows why two pictures match, or why one has its class or its box, place by place",
    "neurons": "says what each number of a layer stands for, beside controls",
    "inspect_data": "says what is in a source of images, and what is wrong with it",
    "prepare": "writes a source as shards that are read fast",
    "export": "writes a model as ONNX, StableHLO or public weights, and proves each file",
    "import_weights": "makes public weights into a folder that can be used as a run",
    "lr_range": "tries learning rates in a short training, and suggests one",
    "plan": "says what a run would need on every device, before any device time is spent",
    "compare": "holds the records of runs against the papers' figures",
    "runs": "lists all runs below a folder: state, step, last scores, goodput",
    "sweep": "runs many trials, here or on Slurm",
    "sweep_report": "turns a sweep's trials into a table with intervals, and plots",
}


def main() -> None:
    """Runs the program as `python -m geodesic.experiments.PROGRAM` does, and ends with its exit status."""
    name, *options = sys.argv[1:] or ["--help"]
    if name in ("--help", "-help", "-h", "help", "--helpshort", "--helpfull"):
        print(usage())
    elif name not in PROGRAMS:
        close = difflib.get_close_matches(name, PROGRAMS, 1)
        hint = f"Did you mean {close[0]}? " if close else ""
        sys.exit(f"error: there is no program {name!r}. {hint}`geodesic --help` has all of them")
    else:
        sys.argv = [f"geodesic {name}", *options]
        runpy.run_module(f"geodesic.experiments.{name}", run_name="__main__", alter_sys=True)


def usage() -> str:
    lines = "\n".join(f"  {name:<16}{text}" for name, text in PROGRAMS.items())
    return f"geodesic PROGRAM --flags\n\n{lines}\n\n`geodesic PROGRAM --help` has the flags of each."


if __name__ == "__main__":
    main()
