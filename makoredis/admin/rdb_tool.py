"""`makoredis import FILE.rdb` and `makoredis export FILE.rdb`: keys from and to Redis's own file format.

Both talk to a running server as any client does, so that they work on one node and on a cluster, and what is imported
is as durable as any write. An import reads the whole file first: a damaged one is refused at the byte where it stops to
make sense, and keys that exist already are noticed, before anything is written. An export asks key by key, so that each
key is whole; to have all of them as of one moment, `--pause` holds the writes of all clients meanwhile.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from makoredis.admin.progress import Progress
from makoredis.admin.wire import Address, Refused, Wire, error_text
from makoredis.base.record import record
from makoredis.data.config import DataConfig
from makoredis.data.rdb.errors import BadFormat
from makoredis.data.rdb.file import Entry, FileWriter, Library, read_file
from makoredis.data.rdb.payload import dump, restore
from makoredis.data.values import Value
from makoredis.version import VERSION
from resp.replies import Error, Reply

BATCH_KEYS = 256
BATCH_BYTES = 4 * 1024 * 1024
PAUSE_MS = 24 * 3600 * 1000
"""The longest that `--pause` holds writes if the export dies without ending it."""

Words = tuple[bytes, ...]


class Failed(Exception):
    """Why the tool ends; what it did until then is said in the text."""


class _NeedsNewerFormat(Exception):
    """A hash with deadlines of fields: only files that Redis 7.4 reads can hold it."""


def main(arguments: list[str]) -> int:
    """Runs `import …` or `export …`. Returns the exit status."""
    options = _parser().parse_args(arguments)
    address = Address(options.host, options.port, options.user, options.password)
    try:
        if options.action == "import":
            text = import_file(address, Path(options.file), replaces=options.replace)
        else:
            text = export_file(address, Path(options.file), pauses=options.pause)
    except (Failed, Refused) as error:
        print(f"makoredis: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"makoredis: {error.filename or options.file}: {error.strerror or error}", file=sys.stderr)
        return 1
    print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="makoredis", description="Keys from and to Redis's RDB files")
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (("import", "write the keys of a file to a server"), ("export", "write all keys to a file")):
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}, which is running.")
        action.add_argument("file", metavar="FILE.rdb")
        action.add_argument("--host", default="127.0.0.1", help="of the server (127.0.0.1)")
        action.add_argument("--port", type=int, default=6380, help="of the server (6380)")
        action.add_argument("--user", default="default", help="to log in as (default)")
        secret = os.environ.get("MAKOREDIS_PASSWORD", "")
        action.add_argument("--password", default=secret, help="to log in with (MAKOREDIS_PASSWORD)")
        if name == "import":
            action.add_argument("--replace", action="store_true", help="overwrite keys that exist")
        else:
            action.add_argument("--pause", action="store_true", help="hold all writes meanwhile: one moment's keys")
    return parser


# -- import


@record
class _Checked:
    """What the first reading of a file has found."""

    keys: int
    expired: int
    libraries: int


def import_file(address: Address, path: Path, *, replaces: bool) -> str:
    """Writes the keys and function libraries of a file to a server. Returns what it did.

    Raises: Failed, Refused, OSError.
    """
    wire = Wire(address)
    try:
        checked = _check(wire, path, replaces=replaces)
        written = _write_all(wire, path, checked, replaces=replaces)
    finally:
        wire.close()
    expired = f"; {checked.expired:,} had expired" if checked.expired else ""
    libraries = f" and {checked.libraries:,} function libraries" if checked.libraries else ""
    return f"{written:,} keys{libraries} imported from {path}{expired}"


def _check(wire: Wire, path: Path, *, replaces: bool) -> _Checked:
    """Reads the file to its checksum, and asks for its databases and for keys that exist already."""
    keys = expired = libraries = 0
    databases: set[int] = set()
    taken: list[tuple[int, bytes]] = []
    now_ms = int(time.time() * 1000)
    progress = Progress(sys.stderr, path.stat().st_size)
    try:
        for batch in _batches(_items(path)):
            entries = [item for item in batch if isinstance(item, Entry)]
            alive = [entry for entry in entries if not _is_expired(entry, now_ms)]
            keys, expired = keys + len(alive), expired + len(entries) - len(alive)
            libraries += len(batch) - len(entries)
            databases.update(entry.db for entry in alive)
            if not replaces:
                taken += _existing(wire, alive)
            progress.show(batch[-1].position, f"{keys:,} keys read")
        for db in sorted(databases):
            wire.ask(b"SELECT", b"%d" % db)
    except BadFormat as error:
        raise Failed(f"{path}: {error}; nothing was imported") from None
    except Refused as error:
        raise Failed(f"{error}; nothing was imported") from None
    finally:
        progress.end()
    if taken:
        db, key = taken[0]
        raise Failed(
            f"{len(taken):,} of the keys exist already, the first is {_shown(key)} in database {db}; "
            "nothing was imported (--replace overwrites them)"
        )
    return _Checked(keys, expired, libraries)


def _existing(wire: Wire, entries: list[Entry]) -> list[tuple[int, bytes]]:
    replies = ask_in_databases(wire, [(entry.db, (b"EXISTS", entry.key)) for entry in entries])
    return [(entry.db, entry.key) for entry, reply in zip(entries, replies) if reply]


def _write_all(wire: Wire, path: Path, checked: _Checked, *, replaces: bool) -> int:
    written = 0
    now_ms = int(time.time() * 1000)
    options: Words = (b"ABSTTL", b"REPLACE") if replaces else (b"ABSTTL",)
    config = DataConfig()
    progress = Progress(sys.stderr, checked.keys)
    try:
        for batch in _batches(_items(path)):
            _load_libraries(wire, batch, replaces=replaces)
            entries = [item for item in batch if isinstance(item, Entry) and not _is_expired(item, now_ms)]
            requests = [
                (each.db, (b"RESTORE", each.key, b"%d" % each.deadline_ms, dump(each.value, config), *options))
                for each in entries
            ]
            for entry, reply in zip(entries, ask_in_databases(wire, requests)):
                if isinstance(reply, Error):
                    raise Refused(f"{_shown(entry.key)} in database {entry.db}: {error_text(reply)}")
                written += 1
            progress.show(written, f"{written:,} keys imported")
    except (Refused, BadFormat, KeyboardInterrupt) as error:
        raise Failed(
            f"{str(error) or 'interrupted'}; stopped after {written:,} of {checked.keys:,} keys, which are in the "
            "server now (the rest is not; --replace begins again)"
        ) from None
    finally:
        progress.end()
    return written


def _load_libraries(wire: Wire, batch: list[Entry | Library], *, replaces: bool) -> None:
    words: Words = (b"FUNCTION", b"LOAD", b"REPLACE") if replaces else (b"FUNCTION", b"LOAD")
    for item in batch:
        if isinstance(item, Library):
            wire.ask(*words, item.source)


def _items(path: Path) -> Iterator[Entry | Library]:
    with path.open("rb") as file:
        yield from read_file(file)


def _batches(items: Iterator[Entry | Library]) -> Iterator[list[Entry | Library]]:
    """Items together, as many as fit into a batch by number and by their bytes in the file."""
    batch: list[Entry | Library] = []
    began_at = 0
    for item in items:
        batch.append(item)
        if len(batch) >= BATCH_KEYS or item.position - began_at >= BATCH_BYTES:
            yield batch
            batch, began_at = [], item.position
    if batch:
        yield batch


def _is_expired(entry: Entry, now_ms: int) -> bool:
    return 0 < entry.deadline_ms <= now_ms


def ask_in_databases(wire: Wire, requests: list[tuple[int, Words]]) -> list[Reply]:
    """Requests, each in its database. Raises: Refused when a database can't be selected."""
    words: list[Words] = []
    is_select: list[bool] = []
    present = -1
    for db, request in requests:
        if db != present:
            present = db
            words.append((b"SELECT", b"%d" % db))
            is_select.append(True)
        words.append(request)
        is_select.append(False)
    replies = wire.ask_all(words) if words else []
    for selects, reply in zip(is_select, replies):
        if selects and isinstance(reply, Error):
            raise Refused(error_text(reply))
    return [reply for selects, reply in zip(is_select, replies) if not selects]


# -- export


def export_file(address: Address, path: Path, *, pauses: bool) -> str:
    """Writes all keys and function libraries of a server to a file, which replaces an older one when it is whole.

    Returns: what it did.
    Raises: Failed, Refused, OSError.
    """
    wire = Wire(address)
    temporary = path.with_name(path.name + ".new")
    try:
        if pauses:
            wire.ask(b"CLIENT", b"PAUSE", b"%d" % PAUSE_MS, b"WRITE")
        try:
            count = _export(wire, temporary, has_field_deadlines=False)
        except _NeedsNewerFormat:
            count = _export(wire, temporary, has_field_deadlines=True)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        if pauses:
            wire.ask(b"CLIENT", b"UNPAUSE")
        wire.close()
    return f"{count:,} keys exported to {path} ({path.stat().st_size:,} bytes)"


def _export(wire: Wire, path: Path, *, has_field_deadlines: bool) -> int:
    sizes = database_sizes(wire)
    progress = Progress(sys.stderr, sum(sizes.values()))
    count = 0
    with path.open("wb") as file:
        writer = FileWriter(file, DataConfig(), has_field_deadlines)
        writer.aux(b"redis-ver", b"7.2.4")
        writer.aux(b"makoredis-ver", VERSION.encode())
        for source in _libraries(wire):
            writer.library(source)
        try:
            for db in sizes:
                for key, value, deadline_ms in _entries(wire, db):
                    writer.put(db, key, value, deadline_ms)
                    count += 1
                    progress.show(count, f"{count:,} keys exported")
        except ValueError:
            raise _NeedsNewerFormat from None
        finally:
            progress.end()
        writer.finish()
        file.flush()
        os.fsync(file.fileno())
    return count


def database_sizes(wire: Wire) -> dict[int, int]:
    """Keys by database number, of the databases that have any."""
    text = wire.ask(b"INFO", b"keyspace")
    assert isinstance(text, bytes)
    sizes: dict[int, int] = {}
    for line in text.decode().splitlines():
        name, _, facts = line.partition(":")
        if facts.startswith("keys="):
            sizes[int(name[2:])] = int(facts[5:].partition(",")[0])
    return sizes


def _libraries(wire: Wire) -> Iterator[bytes]:
    rows = wire.ask(b"FUNCTION", b"LIST", b"WITHCODE")
    assert isinstance(rows, list)
    for row in rows:
        assert isinstance(row, list)
        facts = dict(zip(row[::2], row[1::2]))
        source = facts[b"library_code"]
        assert isinstance(source, bytes)
        yield source


def _entries(wire: Wire, db: int) -> Iterator[tuple[bytes, Value, int]]:
    """The keys of a database with value and deadline (0 = none); those that are deleted meanwhile are left out."""
    wire.ask(b"SELECT", b"%d" % db)
    for keys in _scan(wire):
        requests: list[Words] = [words for key in keys for words in ((b"DUMP", key), (b"PEXPIRETIME", key))]
        replies = wire.ask_all(requests)
        for key, payload, deadline in zip(keys, replies[::2], replies[1::2]):
            if isinstance(payload, Error):
                raise Refused(f"{_shown(key)} in database {db}: {error_text(payload)}")
            if isinstance(payload, bytes) and isinstance(deadline, int):
                yield key, restore(payload), max(0, deadline)


def _scan(wire: Wire) -> Iterator[list[bytes]]:
    """All keys of the selected database, each once."""
    cursor = b"0"
    seen: set[bytes] = set()
    while True:
        reply = wire.ask(b"SCAN", cursor, b"COUNT", b"%d" % BATCH_KEYS)
        assert isinstance(reply, list)
        cursor, found = reply
        fresh = [key for key in found if key not in seen]
        seen.update(fresh)
        yield from _slices(fresh)
        if cursor == b"0":
            return


def _slices(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    remaining = iter(keys)
    while batch := list(islice(remaining, BATCH_KEYS)):
        yield batch


def _shown(key: bytes) -> str:
    return repr(key.decode("utf-8", "backslashreplace")[:200])
