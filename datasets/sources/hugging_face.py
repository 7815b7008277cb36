"""Image sets through Hugging Face's library `datasets`, where it is installed: saved folders, and sets of their hub."""

import importlib
import os
import sys

from ...errors import UserError
from ..source import parted
from . import image_columns

_SAVED = ("state.json", "dataset_dict.json")  # of these a folder has one that `save_to_disk` wrote
_LIBRARY = "datasets"


class HuggingFace:
    """The source of one split of an image set: `FOLDER[#SPLIT]`, as save_to_disk wrote it, or `[OWNER/]NAME[#SPLIT]`.

    The split is by default "train". Image and label are chosen as of `parquet`.
    Raises UserError where the library is missing, or says that it cannot open it.
    """

    def __init__(self, path: str):
        self._path, library = path, _library()
        where, split = parted(path)
        try:
            found = (library.load_from_disk if any(os.path.exists(os.path.join(where, name)) for name in _SAVED)
                     else library.load_dataset)(where)
        except Exception as error:  # many kinds, of many libraries
            raise UserError(f"{where} cannot be opened with the library {_LIBRARY}: "
                            f"{(str(error).splitlines() or [''])[0] or type(error).__name__}") from error
        if isinstance(found, dict):
            if (split or "train") not in found:
                raise UserError(f"{where} has no split {split or 'train'!r}; it has {', '.join(found)}")
            found = found[split or "train"]
        elif split and split != str(found.split):
            raise UserError(f"{where} is the split {found.split}, and no {split!r}")
        self._fingerprint = found._fingerprint
        columns = image_columns.find(where, found.features.arrow_schema)
        self._column = columns.image.removesuffix(".bytes")
        labels = found.select_columns([columns.label]).with_format("arrow")[:].column(0)
        self.class_names, self.labels, remarks = image_columns.labels_of(f"{where}/*.parquet", labels, columns.names)
        if not len(self.labels):
            raise UserError(f"{where} has no row")
        self._records = found.select_columns([self._column]).with_format(None).cast_column(
            self._column, library.Image(decode=False))
        self.num_classes = len(self.class_names)
        self.remarks = [f"{where}: {remark}" for remark in remarks]
        self.paths = [f"{where}#{split or found.split}/{row}" for row in range(len(self.labels))]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        image = self._records[int(index)][self._column] or {}
        content = image.get("bytes")
        if content is None and image.get("path"):
            with open(image["path"], "rb") as file:
                content = file.read()
        if content is None:
            raise UserError(f"{self.paths[index]} has no bytes of an image")
        return {"image": content, "label": int(self.labels[index]), "path": self.paths[index]}

    def record_names(self) -> list[str]:
        """Names a record by the fingerprint that the library gives the split, and the place in it."""
        return [f"{self._fingerprint}:{row}" for row in range(len(self))]

    def __reduce__(self):  # a loader process finds the library by itself
        return HuggingFace, (self._path,)


def _library():
    """Imports the library. Its name is that of a folder of ours, which lies on the path of whoever works in there."""
    here = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
    path = sys.path[:]
    sys.path[:] = [folder for folder in path if os.path.realpath(folder) != here]
    try:
        library = importlib.import_module(_LIBRARY)
        if not hasattr(library, "load_from_disk"):
            raise ImportError(f"{library.__file__} is another")
    except ImportError as error:
        raise UserError(f"the source hugging_face needs the library {_LIBRARY}: pip install {_LIBRARY} "
                        f"({error})") from error
    finally:
        sys.path[:] = path
    return library
