"""A process that is killed while it writes loses nothing that it acknowledged."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from makoredis.base.ids import ShardId
from makoredis.storage.log import load_log

from .conftest import open_test_store

WRITER = """
import select, sys
from pathlib import Path
from makoredis.base.ids import Index, NodeId, ShardId, Term
from makoredis.consensus.types import Entry, EntryKind
from makoredis.storage.disk import DiskThread, Durability
from makoredis.storage.engine import LevelDbEngine
from makoredis.storage.log import load_log
from makoredis.storage.store import open_store

store = open_store(
    Path(sys.argv[1]), cluster="test", node_id=NodeId(1), now_ms=0, ballast_bytes=0,
    open_engine=lambda path, create: LevelDbEngine(path, create=create, write_buffer_bytes=1 << 18),
)
log = load_log(store.engine, ShardId(0)).log
disk = DiskThread(store, Durability(sys.argv[2]))
while True:
    if disk.queued_bytes < 1 << 16:
        index = Index(log.last_index + 1)
        ops = log.append_ops([Entry(Term(1), index, EntryKind.NORMAL, b"%d" % index * 100)])
        if index % 100 == 0:
            for piece in log.truncate_prefix_ops(Index(index - 60)):
                ops.extend(piece)
        disk.submit(ops, index)
    else:
        select.select([disk.wakeup_fd], [], [], 1)
    for token in disk.take_completed():
        print(token, flush=True)
"""


@pytest.mark.parametrize("durability", ["sync", "interval"])
def test_what_was_acknowledged_is_there_after_kill(data_path: Path, durability: str) -> None:
    acknowledged = 0
    for round_number in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(data_path), durability], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        wanted = acknowledged + random.Random(round_number).randrange(100, 900)
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged >= wanted:
                break
        process.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in process.stdout if line.endswith("\n"))])
        process.wait()
        process.stdout.close()
        store = open_test_store(data_path)
        loaded = load_log(store.engine, ShardId(0))
        assert loaded.log.last_index >= acknowledged
        assert all(entry.payload == b"%d" % entry.index * 100 for entry in loaded.entries)
        assert len(loaded.entries) >= 60
        store.close()
