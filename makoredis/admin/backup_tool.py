"""`makoctl backup FILE` and `makoctl restore FILE`: the whole keyspace as of one moment, to a file and back.

A backup is read from one node while the cluster goes on, and has at least everything that was acknowledged when it
began. A restore checks the file to its last byte before it writes anything, and then writes as any client does, so that
what it has written is as durable as any write. It needs as much memory as the data here, and no other clients there:
they would see a part of the data meanwhile.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from makoredis.admin.progress import Progress
from makoredis.admin.rdb_tool import ask_in_databases, database_sizes
from makoredis.admin.wire import Address, Refused, Wire, error_text
from makoredis.cluster.backup import BackupFile, BackupHead, NotABackup
from makoredis.data.config import DataConfig
from makoredis.data.keyspace import Keyspace
from makoredis.data.rdb.payload import dump
from resp.replies import Error

BATCH_KEYS = 256
BATCH_BYTES = 4 * 1024 * 1024
RETRY_SECONDS = 0.2

Outcome = dict[str, Any]
"""What was done, for `--json`; `text` says it to people."""
Words = tuple[bytes, ...]


class Failed(Exception):
    """Why the tool ends; what it did until then is said in the text."""


# -- backup


def save(address: Address, path: Path, seconds: float) -> Outcome:
    """Writes a backup to a file, which replaces an older one when it is whole and checked.

    Args:
        seconds: how long to wait for a node that has not caught up.
    Raises: Failed, Refused, OSError.
    """
    if path.is_dir():
        raise Failed(f"{path}: is a directory; name a file")
    wire = Wire(address)
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("w+b") as file:
            _begin(wire, time.monotonic() + seconds)
            _download(wire, file)
            checked = BackupFile(file)
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except NotABackup as error:
        raise Failed(f"what the node sent is no good: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)
        wire.close()
    size = path.stat().st_size
    head = checked.head
    return {"file": str(path), "bytes": size, **_facts(head), "text": f"{path}: {_described(head)}, {size:,} bytes"}


def _begin(wire: Wire, deadline: float) -> None:
    """Begins a backup of everything that is acknowledged by now, on a short log."""
    # Answered by the leaders: from then on this connection sees nothing older.
    for words in ((b"DBSIZE",), (b"MAKO", b"SNAPSHOT"), (b"MAKO", b"BACKUP", b"BEGIN")):
        _ask_patiently(wire, words, deadline)


def _ask_patiently(wire: Wire, words: Words, deadline: float) -> None:
    while True:
        try:
            wire.ask(*words)
            return
        except Refused as error:
            if not str(error).startswith(("TRYAGAIN", "CLUSTERDOWN")) or time.monotonic() > deadline:
                raise
        time.sleep(RETRY_SECONDS)


def _download(wire: Wire, file: Any) -> None:
    progress = Progress(sys.stderr, 0)
    size = 0
    try:
        while True:
            piece = wire.ask(b"MAKO", b"BACKUP", b"READ")
            assert isinstance(piece, bytes)
            if not piece:
                break
            file.write(piece)
            size += len(piece)
            progress.show(0, f"{size:,} bytes")
    finally:
        progress.end()
    wire.ask(b"MAKO", b"BACKUP", b"END")
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- restore


def check(path: Path) -> Outcome:
    """Reads a backup to its end, and says what it is of. Raises: Failed, OSError."""
    with path.open("rb") as file:
        head, space = _load(path, file, "")
    keys = sum(database.size for database in space.by_id)
    text = f"{path}: {_described(head)}, {keys:,} keys, is undamaged"
    return {"file": str(path), "keys": keys, **_facts(head), "text": text}


def restore(address: Address, path: Path, *, replaces: bool) -> Outcome:
    """Writes a backup into a cluster without keys; with `replaces` its keys are deleted first.

    Raises: Failed, Refused, OSError.
    """
    with path.open("rb") as file:
        head, space = _load(path, file, "; nothing was restored")
    wire = Wire(address)
    try:
        _make_room(wire, replaces=replaces)
        keys = _write_all(wire, space)
    finally:
        wire.close()
    text = f"{keys:,} keys and {len(space.libraries):,} function libraries restored: {_described(head)}"
    return {"file": str(path), "keys": keys, "libraries": len(space.libraries), **_facts(head), "text": text}


def _load(path: Path, file: Any, consequence: str) -> tuple[BackupHead, Keyspace]:
    try:
        backup = BackupFile(file)
        return backup.head, backup.load()
    except NotABackup as error:
        raise Failed(f"{path}: {error}{consequence}") from None


def _make_room(wire: Wire, *, replaces: bool) -> None:
    if replaces:
        wire.ask(b"FLUSHALL")
        wire.ask(b"FUNCTION", b"FLUSH")
        return
    keys = sum(database_sizes(wire).values())
    libraries = wire.ask(b"FUNCTION", b"LIST")
    if keys or libraries:
        raise Failed(
            f"there are {keys:,} keys and {len(libraries) if isinstance(libraries, list) else 0} function libraries "
            "already; nothing was restored (--replace deletes them first)"
        )


def _write_all(wire: Wire, space: Keyspace) -> int:
    total = sum(database.size for database in space.by_id)
    progress = Progress(sys.stderr, total)
    written = 0
    try:
        for source in space.libraries.values():
            wire.ask(b"FUNCTION", b"LOAD", source)
        for batch in _batches(_requests(space)):
            for (db, words), reply in zip(batch, ask_in_databases(wire, batch)):
                if isinstance(reply, Error):
                    raise Refused(f"{words[1]!r} in database {db}: {error_text(reply)}")
                written += 1
            progress.show(written, f"{written:,} keys restored")
    except Refused as error:
        raise Failed(
            f"{error}; stopped after {written:,} of {total:,} keys, which are in the cluster now (the rest is not; "
            "--replace begins again)"
        ) from None
    finally:
        progress.end()
    return written


def _requests(space: Keyspace) -> Iterator[tuple[int, Words]]:
    """A RESTORE for every key that has not expired, with the number of its database."""
    config = DataConfig()
    now_ms = time.time_ns() // 1_000_000
    for number, database in enumerate(space.databases):
        keys = database.keys()
        for key in keys:
            deadline = database.expires.get(key, 0)
            value = database.get(key)
            if value is not None and not 0 < deadline <= now_ms:
                yield number, (b"RESTORE", key, b"%d" % deadline, dump(value, config), b"ABSTTL")


def _batches(requests: Iterator[tuple[int, Words]]) -> Iterator[list[tuple[int, Words]]]:
    batch: list[tuple[int, Words]] = []
    size = 0
    for request in requests:
        batch.append(request)
        size += sum(map(len, request[1]))
        if len(batch) >= BATCH_KEYS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# -- words


def _facts(head: BackupHead) -> Outcome:
    facts = {"cluster": head.cluster, "index": head.index, "term": head.term, "created_ms": head.created_ms}
    return {**facts, "shards": len(head.shards), "ts": head.ts} if head.shards else facts


def _described(head: BackupHead) -> str:
    at = head.ts / 1_000_000 if head.shards else head.created_ms / 1000
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    what = f"{len(head.shards)} shards" if head.shards else f"entry {head.index:,}"
    return f"cluster '{head.cluster}' as of {when} ({what})"
