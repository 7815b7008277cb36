"""A folder of pictures as people have them: hidden and system folders, links, formats of all kinds, strange names.

    python -m tests.datasets.odd_folders FOLDER

writes it. `RECORDS` is what it holds, `REMARKS` is what is said of the rest.
"""

import os
import pathlib
import sys

from tests.datasets import images

# Class -> its pictures below the folder.
RECORDS = {
    "": ["montage.png"],
    "ann": ["ann/0.JPG", "ann/1.png", "ann/2.jfif", "ann/3.jpe", "ann/gone.png", "ann/deeper/0.png",
            "ann/deeper/linked.png"],
    "another": ["another/0.png"],
    "caf\udce9": ["caf\udce9/0.png"],
    "elsewhere": ["elsewhere/0.png", "elsewhere/below/0.png"],
    "lost": ["lost/a\nb.png", "lost/x [old] $20$ : # \\.png", "lost/\udcff.png"],
    "zoe": ["zoe/0.gif", "zoe/1.avif"],
}
REMARKS = [
    "passed over 7 file(s) that are not read: 3 .txt, 2 without extension, 1 .jp2, 1 .png; 7 hidden or system "
    "folder(s): $RECYCLE.BIN, .ipynb_checkpoints, @eaDir, __MACOSX, ann/.trash, ...; 4 link(s) to folders that are "
    "read already or hold this one: aaa_again, ann/loop, ann/up, zzz_again",
    "1 image(s) beside the class folders, in a class of their own, '': montage.png",
    "2 folder(s) without an image, which are no class: empty, notes",
]
_SYSTEM = (".ipynb_checkpoints", "__MACOSX/ann", "@eaDir/1.png", "lost+found", "$RECYCLE.BIN", "ann/.trash",
           "zoe/@eaDir")


def write(root: pathlib.Path) -> pathlib.Path:
    """root/photos is the folder; a class of it is a link to root/outside."""
    folder, outside = root / "photos", root / "outside"
    png = lambda path: _put(path, images.encoded(images.pixels(1), "PNG"))
    for files in RECORDS.values():
        for file in files:
            kind = {".JPG": "JPEG", ".jfif": "JPEG", ".jpe": "JPEG", ".gif": "GIF", ".avif": "AVIF"}
            path = (outside if file.startswith("elsewhere/") else folder) / file.removeprefix("elsewhere/")
            if "gone" not in file and "linked" not in file:
                _put(path, images.encoded(images.pixels(1), kind.get(path.suffix, "PNG")))
    for place in _SYSTEM:
        png(folder / place / "9.png")
    for hidden in (".DS_Store", "ann/._1.png"):
        _put(folder / hidden, b"\0\5\x16\7")
    for other in ("classes.txt", "README", "ann/5.jp2", "notes/a.txt", "notes/b.TXT"):
        _put(folder / other, b"x")
    (folder / "empty").mkdir()
    os.mkfifo(folder / "ann" / "pipe.png")  # to open it would be to wait for ever
    for link, target in (("elsewhere", outside), ("zzz_again", outside), ("aaa_again", "ann"), ("ann/loop", "."),
                         ("ann/up", "../.."), ("ann/gone.png", "nowhere.png"), ("ann/deeper/linked.png", "../1.png"),
                         ("ann/itself", "itself")):
        (folder / link).symlink_to(target)
    return folder


def _put(path: pathlib.Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    print(write(pathlib.Path(sys.argv[1])))
