"""A folder of images: each sub-folder is a class, or, without sub-folders, all images are of one class."""

import os

from ..source import Files

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".pgm", ".ppm", ".tif", ".tiff")


def load(path: str) -> Files:
    """Opens the images below a folder, in name order; the class of each is the first folder below it.

    Files and folders whose name begins with a dot are passed over: macOS keeps notes of a photograph beside it under
    such a name and the same extension. Raises FileNotFoundError where there is no such folder or no image in it.
    """
    if not os.path.isdir(path):
        raise FileNotFoundError(f"no folder {path!r}: expected one with images, or with a sub-folder for each class")
    found = []
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        relative = os.path.relpath(folder, path)
        name_of_class = "" if relative == "." else relative.split(os.sep)[0]
        found += [(name_of_class, os.path.join(folder, name))
                  for name in sorted(names) if name.lower().endswith(EXTENSIONS) and not name.startswith(".")]
    if not found:
        raise FileNotFoundError(f"no image in {path!r} (looked for {' '.join(EXTENSIONS)})")
    class_names = sorted({name for name, _ in found})
    label = {name: index for index, name in enumerate(class_names)}
    return Files([file for _, file in found], [label[name] for name, _ in found], class_names)
