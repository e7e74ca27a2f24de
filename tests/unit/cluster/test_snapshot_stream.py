"""Snapshots as streams of bytes: cut into any chunks they come out whole, and damage never goes unnoticed."""

from pathlib import Path

import pytest

from makoredis.base.ids import Index, Slot
from makoredis.cluster.snapshot_stream import StreamReader, StreamWriter
from makoredis.storage.errors import Damaged
from makoredis.storage.state import TOMBSTONE, Row

ROWS: list[Row] = [
    (0, Slot(7), b"key", Index(3), None, 1, b"value"),
    (0, Slot(8), b"gone", Index(9), None, TOMBSTONE, b""),
    (1, Slot(16383), b"", Index(1 << 40), 1_700_000_000_000, 2, bytes(300_000)),
]


def chunks(rows: list[Row], size: int) -> list[bytes]:
    writer = StreamWriter(b"blob", iter(rows))
    found = []
    while True:
        data, is_last = writer.read(size)
        assert len(data) == size or is_last
        found.append(data)
        if is_last:
            return found


def read(path: Path, data: bytes) -> tuple[bytes, list[Row]]:
    path.write_bytes(data)
    with path.open("rb") as file:
        reader = StreamReader(file)
        return reader.blob, list(reader.rows())


@pytest.mark.parametrize("size", [1000, 65536, 10_000_000])
@pytest.mark.parametrize("rows", [ROWS, []])
def test_what_is_written_is_read(tmp_path: Path, size: int, rows: list[Row]) -> None:
    assert read(tmp_path / "stream", b"".join(chunks(rows, size))) == (b"blob", rows)


def test_the_last_chunk_is_known_as_such_when_it_is_full() -> None:
    whole = chunks(ROWS[:2], 10_000)[0]
    assert [len(chunk) for chunk in chunks(ROWS[:2], len(whole))] == [len(whole)]


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path: Path) -> None:
    whole = b"".join(chunks(ROWS[:2], 1000))
    for at in range(len(whole)):
        with pytest.raises(Damaged):
            read(tmp_path / "cut", whole[:at])
        with pytest.raises(Damaged):
            read(tmp_path / "flipped", whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
    with pytest.raises(Damaged):
        read(tmp_path / "longer", whole + b"x")


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("makoredis.cluster.snapshot_stream.STREAM_VERSION", 99)
    newer = b"".join(chunks(ROWS, 1000))
    monkeypatch.undo()
    with pytest.raises(Damaged, match="version 99"):
        read(tmp_path / "newer", newer)
