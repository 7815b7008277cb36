"""Read with tensorboardX's own protocol buffers and checksum."""

import struct

import pytest
from tensorboardX import record_writer
from tensorboardX.proto import event_pb2

from geodesic.experiments.process import event_file


def read(path) -> list:
    """The events of a file. Both checksums of every record are looked at."""
    content, events = path.read_bytes(), []
    while content:
        length, = struct.unpack("<Q", content[:8])
        body, sums = content[12:12 + length], content[8:12] + content[12 + length:16 + length]
        assert struct.unpack("<II", sums) == tuple(map(record_writer.masked_crc32c, (content[:8], body)))
        events.append(event_pb2.Event.FromString(body))
        content = content[16 + length:]
    return events


def test_tensorboards_own_messages_come_out(tmp_path):
    file = event_file.EventFile(str(tmp_path / "board"), 300)
    file.write(301, {"loss": 0.5, "map@r": -1e-9})
    file.write(2 ** 40, {"é" * 100: 1e30})
    file.close()
    path, = (tmp_path / "board").iterdir()
    assert "tfevents" in path.name
    version, start, first, second = read(path)
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (301, 1)  # START
    assert first.step == 301 and {value.tag: value.simple_value for value in first.summary.value} == {
        "loss": 0.5, "map@r": pytest.approx(-1e-9)}
    assert second.step == 2 ** 40 and second.summary.value[0].tag == "é" * 100
    assert second.summary.value[0].simple_value == pytest.approx(1e30)
    assert 0 <= second.wall_time - version.wall_time < 10 and version.wall_time > 1.7e9


def test_two_files_of_one_second(tmp_path):
    for _ in range(2):
        event_file.EventFile(str(tmp_path), 0).close()
    assert len(list(tmp_path.iterdir())) == 2
