"""Face pairs and templates by insightface's own scripts, which are read from a folder and run, never copied."""

import ast
import contextlib
import io
import itertools
import pathlib
import sys
import tempfile
import unittest.mock

import numpy as np
import sklearn
import sklearn.preprocessing
from scipy import interpolate
from sklearn.model_selection import KFold

from tests.metrics.goldens import cases
from tests.metrics.goldens.attempts import attempt

# Imported by the scripts for images and plots, and not used for what is asked of them.
UNUSED = {"matplotlib", "pandas", "cv2", "skimage", "torch", "backbones", "menpo", "prettytable"}


def pair_results(script: pathlib.Path) -> dict:
    """10-fold accuracies, and the rate at FAR 1e-3 with a threshold interpolated on nine folds."""
    scope = {"np": np, "KFold": KFold, "interpolate": interpolate}
    wanted = {"LFold", "calculate_roc", "calculate_accuracy", "calculate_val", "calculate_val_far"}
    tree = ast.parse(script.read_text())
    tree.body = [node for node in tree.body if getattr(node, "name", None) in wanted]
    exec(compile(tree, script, "exec"), scope)
    result = {}
    for name, (rows, same) in cases.face_pairs().items():
        first, second = rows[0::2], rows[1::2]
        result |= {f"pairs/{name}/rows": rows, f"pairs/{name}/same": same}
        result |= attempt(lambda a=first, b=second, s=same: {"accuracies": scope["calculate_roc"](
            np.arange(0, 4, 0.01), a, b, s)[2]}, f"insightface/{name}")
        result |= attempt(lambda a=first, b=second, s=same: dict(zip(("val", "val_std", "far"), scope["calculate_val"](
            np.arange(0, 4, 0.001), a, b, s, 1e-3), strict=True)), f"insightface/{name}/at_far")
    return result


def template_results(script: pathlib.Path) -> dict:
    """Scores of the listed pairs and the printed table, in per cent, for each setting of the three switches."""
    given = cases.template_images()
    result = {f"templates/{name}": array for name, array in given.items()}
    for norm, detector, flip in itertools.product((False, True), repeat=3):
        name = f"insightface/N{norm:d}D{detector:d}F{2 * flip}"
        result |= attempt(lambda s=(norm, detector, flip): run(script, given, s), name)
    broken = given | {"rows": np.where(np.arange(80)[:, None] == 3, np.float32("nan"), given["rows"])}
    return result | attempt(lambda: run(script, broken, (True, True, True)), "insightface/templates_nan")


def run(script: pathlib.Path, given: dict, switches: tuple[bool, bool, bool]) -> dict:
    """The whole script, with its switches set, our arrays in place of its three readers, and no images or plots."""
    table = []
    scope = {"read_template_media_list": lambda path: (given["template"], given["medium"]),
             "read_template_pair_list": lambda path: (given["first"], given["second"], given["same"].astype(int)),
             "get_image_feature": lambda *_: (np.concatenate([given["rows"], given["flipped"]], axis=1),
                                              given["detector"])}
    dropped = {*scope, "Embedding"}
    scope |= {"matplotlib": unittest.mock.MagicMock(), "plt": unittest.mock.MagicMock(),
              "sample_colours_from_colourmap": lambda count, name: [name] * count,
              "PrettyTable": lambda header: unittest.mock.MagicMock(add_row=table.append)}
    settings = dict(zip(("use_norm_score", "use_detector_score", "use_flip_test"), switches, strict=True))
    tree = ast.parse(script.read_text())
    tree.body = [node for node in tree.body if getattr(node, "name", None) not in dropped and not _unused(node)]
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in settings:
            node.value = ast.copy_location(ast.Constant(settings[node.targets[0].id]), node.value)
    with (tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()),
          unittest.mock.patch.object(sys, "argv", ["ijbc", f"--image-path={folder}", f"--result-dir={folder}"]),
          unittest.mock.patch.object(sys, "path", list(sys.path))):
        (pathlib.Path(folder) / "meta").mkdir()
        (pathlib.Path(folder) / "meta" / "ijbc_name_5pts_score.txt").touch()
        exec(compile(tree, script, "exec"), scope)
    return {"scores": scope["score"], "far": np.array(scope["x_labels"]), "table": np.array(table[0][1:], np.float64)}


def _unused(node) -> bool:
    names = [node.module] if isinstance(node, ast.ImportFrom) else (
        [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
    return any(name.split(".")[0] in UNUSED for name in names)


def results(folder: pathlib.Path) -> dict:
    return {"versions": np.array([f"scikit-learn {sklearn.__version__}", f"numpy {np.__version__}"])} | pair_results(
        folder / "eval" / "verification.py") | template_results(folder / "eval_ijbc.py")
