"""A run's trunk as public weights: a file of safetensors, which the importer must read as it was written."""

import os
import tempfile

import numpy as np
from flax import traverse_util

from geodesic.embedders.public_weights import pretrained, publish, weight_files
from geodesic.experiments.process import storage


def written(run, output: str) -> tuple[bytes, dict]:
    """(the file, facts about it). output: of which the file is, of `export.OUTPUTS`: "scores" asks for the classifier
    too."""
    head, name, left_out = None, run.config.embedder.name, []
    if output == "scores":
        params = run.classifier.params
        if {*params} == {"prototypes", "bias"}:
            head = {"kernel": params["prototypes"].T, "bias": params["bias"]}
        else:
            left_out = [publish.CLASSIFIER]
    made = publish.convert(run.variables, name, run.embedder, head)
    content = publish.safetensors(made.tensors, {"format": "pt", "checkpoint": run.digest})
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.safetensors")
        storage.write(path, content)
        again = pretrained.inspect(weight_files.read(path), name)
    given, found = (traverse_util.flatten_dict(tree, sep="/") for tree in (run.variables, again.variables))
    for path, values in given.items():
        above = path.partition("/")[2].startswith(("neck", "head")) and not made.layout.neck
        if not above and (path not in found or np.asarray(values).tobytes() != found[path].tobytes()):
            raise AssertionError(f"{path} is not read as it was written")
    return content, {"layout": made.layout.name, "tensors": len(made.tensors), "left_out": made.left_out + left_out,
                     "channel_order": made.layout.preprocessing.channel_order}
