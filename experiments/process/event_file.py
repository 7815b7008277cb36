"""Scalars as TensorBoard reads them: records of TFRecord's form, each a protocol buffer of the message Event.

Four fields of three messages are all that scalars need, so that no package of protocol buffers is imported for them.
The messages are those of tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto.
"""

import functools
import os
import socket
import struct
import time
from collections.abc import Mapping

# (wire type, what packs it) of a value of Python's.
_BYTES, _DOUBLE, _FLOAT, _INTEGER = 2, 1, 5, 0


class EventFile:
    """A new file of events in `folder`, which is created. Every write is with the system when it returns."""

    def __init__(self, folder: str, first_step: int):
        """first_step: TensorBoard hides what an older file of the folder has past it."""
        os.makedirs(folder, exist_ok=True)
        # TensorBoard reads files with "tfevents" in their name, in the order of their seconds. A run that goes back
        # writes two in one second.
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
        self._file = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._write(_field(3, _BYTES, b"brain.Event:2"))
        session_start = _field(1, _INTEGER, 1)
        self._write(_field(2, _INTEGER, first_step + 1) + _field(7, _BYTES, session_start))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Raises OSError where there is no room."""
        values = b"".join(_field(1, _BYTES, _field(1, _BYTES, name.encode()) + _field(2, _FLOAT, value))
                          for name, value in scalars.items())
        self._write(_field(2, _INTEGER, step) + _field(5, _BYTES, values))

    def close(self) -> None:
        os.close(self._file)

    def _write(self, event: bytes) -> None:
        record = _record(_field(1, _DOUBLE, time.time()) + event)
        while record:
            record = record[os.write(self._file, record):]


def _field(number: int, wire_type: int, value) -> bytes:
    """One field of a message in the wire format of protocol buffers."""
    key = _varint(number << 3 | wire_type)
    if wire_type == _BYTES:
        return key + _varint(len(value)) + value
    if wire_type == _INTEGER:
        return key + _varint(value)
    return key + struct.pack("<d" if wire_type == _DOUBLE else "<f", value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    if value < 128:
        return bytes([value])
    return bytes([value & 127 | 128]) + _varint(value >> 7)


def _record(content: bytes) -> bytes:
    """Length, its checksum, content, its checksum."""
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", _checksum(length)) + content + struct.pack("<I", _checksum(content))


def _checksum(content: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord wants it."""
    crc, table = 0xffffffff, _table()
    for byte in content:
        crc = table[(crc ^ byte) & 0xff] ^ crc >> 8
    crc ^= 0xffffffff
    return (crc >> 15 | crc << 17) + 0xa282ead8 & 0xffffffff


@functools.cache
def _table() -> list[int]:
    """What eight steps of CRC-32C's division make of each byte."""
    table = list(range(256))
    for _ in range(8):
        table = [value >> 1 ^ (0x82f63b78 if value & 1 else 0) for value in table]
    return table
