"""Reads insightface's training sets: a RecordIO file (.rec) with its index (.idx), as MXNet wrote them.

A record is a magic number, a length, and a payload padded to 4 bytes; the payload starts with a header (flag, label,
two ids), and where flag > 0 that many float32 labels follow. Record 0 of an insightface set says where its
identities are listed; the record of an identity says which records are its images. A file without these two kinds
is a plain list of images, with the label in each header.
"""

import os
import struct

import numpy as np

from ...errors import UserError

_MAGIC = 0xCED7230A
_FRAME = struct.Struct("<II")       # magic, 3 bits of continuation and 29 of length
_HEADER = struct.Struct("<IfQQ")    # flag, label, id, id2
_LARGEST_EXACT_LABEL = 2 ** 24      # labels are float32: above this, neighbours are one number


class RecordIO:
    """The source of a .rec file. Raises FileNotFoundError without its .idx, UserError for damage."""

    def __init__(self, path: str):
        self._path = path
        self._offsets = _read_index(os.path.splitext(path)[0] + ".idx")
        self._file = os.open(path, os.O_RDONLY)
        self._size = os.fstat(self._file).st_size
        self._keys, labels = self._images()
        if not len(self._keys):
            raise UserError(f"{path} lists no image")
        self._check_list(labels)
        if labels.min() < 0 or labels.max() >= _LARGEST_EXACT_LABEL or (labels != np.floor(labels)).any():
            raise UserError(f"{path} has labels that are no class numbers: {labels.min()} to {labels.max()}")
        self.labels = labels.astype(np.int64)
        self.num_classes = int(self.labels.max()) + 1
        self.class_names = [str(label) for label in range(self.num_classes)]
        self.paths = [f"{path}#{key}" for key in self._keys]

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> dict:
        labels, content = self._read(int(self._keys[index]))
        if labels[0] != self.labels[index]:
            raise UserError(f"{self.paths[index]} has label {labels[0]:g}; its identity has {self.labels[index]}")
        return {"image": content, "label": int(self.labels[index]), "path": self.paths[index]}

    def record_names(self) -> list[str]:
        """Names a record by its key and how many bytes it takes, as the index has them."""
        starts = np.array(sorted(self._offsets.values()), np.int64)
        ends = np.append(starts[1:], self._size)
        sizes = ends - starts
        places = np.searchsorted(starts, [self._offsets[int(key)] for key in self._keys])
        return [f"{key}:{size}" for key, size in zip(self._keys.tolist(), sizes[places].tolist(), strict=True)]

    def __del__(self):
        if hasattr(self, "_file"):
            os.close(self._file)

    def __reduce__(self):  # file descriptors do not travel to loader processes
        return RecordIO, (self._path,)

    def _images(self) -> tuple[np.ndarray, np.ndarray]:
        """Finds the keys of the image records, i64[N], and their labels, f64[N]."""
        if 0 in self._offsets:
            first_labels, content = self._read(0)
            if len(first_labels) >= 2 and not content:
                if not 0 < first_labels[0] <= first_labels[1] < float("inf"):
                    raise UserError(f"{self._path}#0 is damaged: identities {first_labels[0]} to {first_labels[1]}")
                return self._images_of_identities(int(first_labels[0]), int(first_labels[1]))
        keys = np.array(sorted(self._offsets), np.int64)
        return keys, np.array([self._read(int(key))[0][0] for key in keys], np.float64)

    def _images_of_identities(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        keys, labels = [], []
        if last - first > len(self._offsets):
            raise UserError(f"{self._path} is damaged: identities {first} to {last}, {len(self._offsets)} records")
        for identity in range(first, last):
            bounds, _ = self._read(identity)
            if len(bounds) < 2:
                raise UserError(f"{self._path}#{identity} should list an identity's images and does not")
            if not 0 <= bounds[0] <= bounds[1] or bounds[1] - bounds[0] > len(self._offsets):
                raise UserError(f"{self._path}#{identity} is damaged: images {bounds[0]:g} to {bounds[1]:g}")
            images = np.arange(int(bounds[0]), int(bounds[1]))
            if len(images):
                keys.append(images)
                labels.append(np.full(len(images), self._read(int(images[0]))[0][0], np.float64))
        # Nothing else tells a damaged label of an identity, or one that has taken the images of its neighbour.
        if sorted(part[0] for part in labels) != list(range(len(labels))):
            raise UserError(f"{self._path} is damaged: its {len(labels)} identities do not have the labels 0 to "
                            f"{len(labels) - 1}, each once")
        every = np.concatenate(keys or [np.zeros(0, np.int64)])
        if len(np.unique(every)) != len(every) or len(every) != self._offsets_of_images(first, last):
            raise UserError(f"{self._path} is damaged: its identities do not share out its images")
        return np.concatenate(keys or [np.zeros(0, np.int64)]), np.concatenate(labels or [np.zeros(0)])

    def _offsets_of_images(self, first: int, last: int) -> int:
        """Counts the records that are neither the first one nor an identity."""
        return sum(not first <= key < last for key in self._offsets) - 1

    def _check_list(self, labels: np.ndarray) -> None:
        """Raises UserError where the .lst beside the file, if there is one, says another label for a record.

        A line is key, label, path (MXNet) or key, path, label (insightface), parted by tabs.
        """
        path = os.path.splitext(self._path)[0] + ".lst"
        if not os.path.exists(path):
            return
        known = dict(zip(self._keys.tolist(), labels.tolist(), strict=True))
        with open(path, errors="replace") as file:
            for number, line in enumerate(file, start=1):
                fields = line.rstrip("\n").split("\t")
                listed = [_number(field) for field in fields]
                label = next((value for value in listed[1:] if value is not None), None)
                if len(fields) < 3 or listed[0] is None or label is None:
                    raise UserError(f"{path}, line {number}: expected a key, a label and a path, got {line[:60]!r}")
                if known.get(int(listed[0]), label) != label:
                    raise UserError(f"{self._path}#{fields[0]} has label {known[int(listed[0])]:g}; "
                                    f"{path} says {label:g}")

    def _read(self, key: int) -> tuple[np.ndarray, bytes]:
        """Reads a record: (labels f64[L], what follows them)."""
        payload = self._payload(key)
        if len(payload) < _HEADER.size:
            raise UserError(f"{self._path}#{key} is damaged: {len(payload)} bytes are no header")
        flag, label, _, _ = _HEADER.unpack_from(payload)
        end = _HEADER.size + 4 * flag
        if end > len(payload):
            raise UserError(f"{self._path}#{key} is damaged: {flag} labels do not fit into {len(payload)} bytes")
        labels = np.frombuffer(payload[_HEADER.size:end], "<f4").astype(np.float64) if flag else np.array([label])
        return labels, payload[end:]

    def _payload(self, key: int) -> bytes:
        if key not in self._offsets:
            raise UserError(f"{self._path} has no record {key}: its .idx does not list it")
        offset, parts = self._offsets[key], []
        while True:
            frame = os.pread(self._file, _FRAME.size, offset) if offset < self._size else b""
            magic, word = _FRAME.unpack(frame) if len(frame) == _FRAME.size else (0, 0)
            continuation, length = word >> 29, word & (2 ** 29 - 1)
            if magic != _MAGIC or offset + _FRAME.size + length > self._size:
                raise UserError(f"{self._path}#{key} is damaged: no whole record at byte {offset}")
            parts.append(os.pread(self._file, length, offset + _FRAME.size))
            # A payload that holds the magic number is written in parts, without it: 1 begins, 2 goes on, 3 ends.
            if continuation in (0, 3):
                return struct.pack("<I", _MAGIC).join(parts)
            offset += _FRAME.size + length + (-length) % 4


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read_index(path: str) -> dict[int, int]:
    """Reads an index: key -> byte offset. Raises FileNotFoundError, or UserError for a line that is not two numbers."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"no index {path!r} beside the .rec file")
    offsets = {}
    with open(path, errors="replace") as file:
        for number, line in enumerate(file, start=1):
            fields = line.split()
            if len(fields) != 2 or not all(field.isdecimal() for field in fields):
                raise UserError(f"{path}, line {number}: expected a key and an offset, got {line.strip()[:40]!r}")
            offsets[int(fields[0])] = int(fields[1])
    if len({*offsets.values()}) != len(offsets):
        raise UserError(f"{path} is damaged: two of its records are at the same place")
    return offsets
