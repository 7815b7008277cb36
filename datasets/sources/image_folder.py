"""A folder of images: each sub-folder is a class, or, without sub-folders, all images are of one class.

Of a bucket (gs://, s3://) every object below the folder is listed, and the same rules make the same source of them.
"""

import collections
import os
from typing import NamedTuple

from .. import buckets, heif, objects
from ..source import Files
from . import class_names as naming

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".avif", ".bmp", ".pgm", ".ppm", ".tif",
              ".tiff")
# What systems put beside people's files; and everything whose name begins with a dot.
SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir", "@tmp", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot",
                            "lost+found", "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "__pycache__"})
_LISTED = 5  # names that a remark has


class _Found(NamedTuple):
    """What lies below a folder."""

    folders: list[tuple[tuple[str, ...], str, list[str]]]  # (names below the root, path, names of its images in order)
    others: collections.Counter[str]                       # extension -> files that are not read
    system: list[str]                                      # hidden and system folders
    links: list[str]                                       # to folders that are read already, or hold this one


def load(path: str) -> Files:
    """Opens the images below a folder, in name order; the class of each is the first folder below it.

    Hidden and system folders (SYSTEM_FOLDERS) and files whose name begins with a dot are passed over: macOS keeps notes
    of a photograph beside it under such a name and the same extension. A folder that is a link is read as if it lay
    there, and no folder twice. What is passed over is in the remarks.
    Raises FileNotFoundError where there is no such folder or no image in it.
    """
    there = {file.path: file for file in objects.below(path)} if buckets.is_remote(path) else None
    if not there and (there is not None or not os.path.isdir(path)):
        raise FileNotFoundError(f"no folder {path!r}: expected one with images, or with a sub-folder for each class")
    extensions = EXTENSIONS + (heif.EXTENSIONS if heif.is_available() else ())
    path = path if there is None else objects.normal(path)
    found = _walk(path, extensions) if there is None else _sort_out(path, [*there], extensions)
    files, labels, class_names = [], [], []
    for names, folder, images in sorted(found.folders):
        if images and (name := names[0] if names else "") not in class_names[-1:]:
            class_names.append(name)
        files += [os.path.join(folder, image) for image in images]
        labels += [len(class_names) - 1] * len(images)
    passed_over = _passed_over(path, found)
    if not files:
        raise FileNotFoundError(f"no image in {path!r} (looked for {' '.join(extensions)})"
                                + "".join(f"; {line}" for line in passed_over))
    return Files(files, labels, class_names, [*passed_over, *_classes(path, found, class_names)],
                 there and objects.Objects([there[file] for file in files]))


def _walk(root: str, extensions: tuple[str, ...]) -> _Found:
    found = _Found([], collections.Counter(), [], [])
    above, seen = os.path.realpath(root), set()
    folders, links = [((), root)], []
    while folders or links:
        if not folders:  # links come last: of a folder that lies here too, its own place counts
            links.sort(reverse=True)
            names, folder = links.pop()
            if f"{above}{os.sep}".startswith(os.path.realpath(folder).rstrip(os.sep) + os.sep) or _key(folder) in seen:
                found.links.append(os.path.join(*names))
                continue
            folders.append((names, folder))
        names, folder = folders.pop()
        key = _key(folder)
        if key in seen:
            continue
        seen.add(key)
        images, inner, linked = _look(folder, extensions, found, names)
        found.folders.append((names, folder, images))
        folders += [((*names, name), os.path.join(folder, name)) for name in inner]
        links += [((*names, name), os.path.join(folder, name)) for name in linked]
    return found


def _sort_out(root: str, paths: list[str], extensions: tuple[str, ...]) -> _Found:
    """What `_walk` finds, of the paths of objects: their folders are but parts of their names."""
    found, folders, system = _Found([], collections.Counter(), [], []), {(): []}, set()
    for path in paths:
        *names, file = path.removeprefix(f"{root}/").split("/")
        if "" in names:  # no file is called so
            found.others[os.path.splitext(file)[1].lower()] += 1
            continue
        at = next((place for place, name in enumerate(names) if _is_system(name)), None)
        if at is not None:
            system.add(os.path.join(*names[:at + 1]))
            continue
        for depth in range(len(names) + 1):
            folders.setdefault(tuple(names[:depth]), [])
        if file:  # an object called as a folder stands for that
            folders[tuple(names)].append(file)
    found.system.extend(system)
    found.folders.extend((names, "/".join([root, *names]), _images(files, extensions, found))
                         for names, files in folders.items())
    return found


def _look(folder: str, extensions: tuple[str, ...], found: _Found,
          names: tuple[str, ...]) -> tuple[list, list, list]:
    """(images in name order, folders, folders that are links) of one folder; the rest is counted."""
    with os.scandir(folder) as scanned:
        entries = list(scanned)
    files = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    inner, linked = [], []
    for entry in entries if len(files) < len(entries) else ():
        if entry.is_file(follow_symlinks=False):
            continue
        if _is_folder(entry):
            if _is_system(entry.name):
                found.system.append(os.path.join(*names, entry.name))
            else:
                (linked if entry.is_symlink() else inner).append(entry.name)
        # A link to nothing is an image that cannot be read; a pipe would be waited for.
        elif not os.path.exists(entry.path) or entry.is_file():
            files.append(entry.name)
        elif not entry.name.startswith("."):
            found.others[os.path.splitext(entry.name)[1].lower()] += 1
    return _images(files, extensions, found), inner, linked


def _images(files: list[str], extensions: tuple[str, ...], found: _Found) -> list[str]:
    """The images among the files of a folder, in name order; the rest is counted."""
    images = sorted(name for name in files if name.lower().endswith(extensions) and not name.startswith("."))
    if len(images) < len(files):
        others = (os.path.splitext(name)[1].lower() for name in {*files} - {*images} if not name.startswith("."))
        found.others.update(others)
    return images


def _is_system(folder: str) -> bool:
    return folder.startswith(".") or folder in SYSTEM_FOLDERS


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _key(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _passed_over(path: str, found: _Found) -> list[str]:
    parts = []
    if found.others:
        kinds = ", ".join(f"{count:,} {_shown(kind) or 'without extension'}"
                          for kind, count in sorted(found.others.items(), key=lambda item: (-item[1], item[0])))
        needs = f" ({heif.MISSING})" if any(kind in found.others for kind in heif.EXTENSIONS) else ""
        parts.append(f"{found.others.total():,} file(s) that are not read: {kinds}{needs}")
    if found.system:
        parts.append(f"{len(found.system):,} hidden or system folder(s): {_first(found.system)}")
    if found.links:
        parts.append(f"{len(found.links):,} link(s) to folders that are read already or hold this one: "
                     f"{_first(found.links)}")
    return [f"{path}: passed over {'; '.join(parts)}"] if parts else []


def _classes(path: str, found: _Found, class_names: list[str]) -> list[str]:
    """What is to be said of images beside the class folders, and of folders that are no class for want of images."""
    result = []
    stray = next(images for names, _, images in found.folders if not names)
    if stray and len(class_names) > 1:
        result.append(f"{path}: {len(stray):,} image(s) beside the class folders, in a class of their own, '': "
                      f"{_first(stray)}")
    empty = {names[0] for names, _, _ in found.folders if names} - {*class_names}
    if empty:
        result.append(f"{path}: {len(empty):,} folder(s) without an image, which are no class: {_first(empty)}")
    deeper = [os.path.join(*names) for names, _, images in found.folders if images and len(names) > 1]
    if len(deeper) > len(class_names) > 1 and all(len(names) > 1 for names, _, images in found.folders if images):
        result.append(f"{path}: its {len(class_names):,} classes are {_first(class_names)}, and all images lie deeper, "
                      f"in {_first(deeper)}: if those are the classes, the path is one level too high")
    return result + [f"{path}: {remark}" for remark in naming.remarks(class_names)]


def _first(names) -> str:
    return ", ".join(map(_shown, sorted(names)[:_LISTED])) + (", ..." if len(names) > _LISTED else "")


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() or "\udc80" <= letter <= "\udcff" else repr(letter)[1:-1]
                   for letter in name)
