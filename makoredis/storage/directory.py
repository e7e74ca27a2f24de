"""A node's data directory: whose it is, and that one process has it.

* `identity.json` is written last when a directory is initialised. Until then `identity.new` stands for it: a directory
  with that one alone was never in use, and initialising it begins again.
* A directory that holds something but no identity is not ours and is left alone.
* A directory of another cluster, node or format is refused, because starting on it would mix two histories.
"""

import fcntl
import json
import os
import shutil
from pathlib import Path

from makoredis.base.errors import StorageError
from makoredis.base.ids import NodeId
from makoredis.base.record import record
from makoredis.storage.errors import Damaged, DirectoryRefused
from makoredis.storage.layout import FORMAT_VERSION

IDENTITY_FILE = "identity.json"
_NEW_IDENTITY_FILE = "identity.new"
LOCK_FILE = "lock"
_DATABASE_DIRECTORY = "db"
_PROCESSES_FILE = "processes.json"
PROCESSES_MAX = 16
"""So many of the latest are known."""


@record
class Identity:
    """Whose directory it is."""

    format_version: int
    cluster: str
    node_id: NodeId
    created_ms: int
    """Wall clock in milliseconds when it was initialised."""


class DataDirectory:
    """A locked data directory. Everything else of this layer lives in it."""

    def __init__(self, path: Path) -> None:
        """Takes the directory for this process, making it if needed.

        Raises:
            DirectoryRefused: another process has it, or it holds something that is not ours.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(path)
            self._lock: int | None = _take_lock(path)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}; check the path and its owner") from error

    @property
    def database_path(self) -> Path:
        """Where the ordered store has its files."""
        return self.path / _DATABASE_DIRECTORY

    def read_identity(self) -> Identity | None:
        """The identity; None if the directory was never completely initialised.

        Raises:
            Damaged: the file cannot be understood.
            DirectoryRefused: the format is of another version.
        """
        file = self.path / IDENTITY_FILE
        if not file.exists():
            return None
        try:
            fields = json.loads(file.read_text())
            identity = Identity(
                int(fields["format_version"]),
                str(fields["cluster"]),
                NodeId(int(fields["node_id"])),
                int(fields["created_ms"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(str(file), f"is not an identity ({error!r})") from error
        except OSError as error:
            raise StorageError(f"{file}: {error.strerror}; check the disk") from error
        if identity.format_version != FORMAT_VERSION:
            raise DirectoryRefused(
                f"{file}: format version {identity.format_version}, this makoredis reads {FORMAT_VERSION}; "
                "use the version that wrote it"
            )
        return identity

    def begin_initialising(self, identity: Identity) -> None:
        """Notes the identity to be, and clears what an interrupted attempt left."""
        try:
            for entry in self.path.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
                elif entry.name != LOCK_FILE:
                    entry.unlink()
            fields = {name: getattr(identity, name) for name in Identity.__slots__}  # type: ignore[attr-defined]
            _write_synced(self.path / _NEW_IDENTITY_FILE, json.dumps(fields, indent=2) + "\n")
            _sync_directory(self.path)
            _sync_directory(self.path.parent)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}; cannot initialise the directory") from error

    def finish_initialising(self) -> None:
        """Makes the identity final: from here on the directory may hold acknowledged data."""
        try:
            os.rename(self.path / _NEW_IDENTITY_FILE, self.path / IDENTITY_FILE)
            _sync_directory(self.path)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}; cannot initialise the directory") from error

    def begin_process(self, incarnation: int) -> list[int]:
        """Notes the name of the process that has the directory. Returns those of the ones before it, which have ended.

        Raises:
            Damaged: the file cannot be understood.
        """
        file = self.path / _PROCESSES_FILE
        try:
            earlier = [int(each) for each in json.loads(file.read_text())] if file.exists() else []
            new = self.path / (_PROCESSES_FILE + ".new")
            _write_synced(new, json.dumps([*earlier, incarnation][-PROCESSES_MAX:]) + "\n")
            os.rename(new, file)
            _sync_directory(self.path)
        except (ValueError, TypeError) as error:
            raise Damaged(str(file), f"is not a list of processes ({error!r}); it may be deleted") from error
        except OSError as error:
            raise StorageError(f"{file}: {error.strerror}; check the disk") from error
        return earlier

    def close(self) -> None:
        """Gives the directory up."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def check_identity(path: Path, found: Identity, cluster: str, node_id: NodeId) -> None:
    """Raises DirectoryRefused unless the directory belongs to this node of this cluster."""
    if (found.cluster, found.node_id) != (cluster, node_id):
        raise DirectoryRefused(
            f"{path}: belongs to node {found.node_id} of cluster {found.cluster!r}, "
            f"this is node {node_id} of {cluster!r}; set another data directory"
        )


def _refuse_foreign(path: Path) -> None:
    names = {entry.name for entry in path.iterdir()}
    ours = {IDENTITY_FILE, _NEW_IDENTITY_FILE}
    if names - {LOCK_FILE} and not names & ours:
        raise DirectoryRefused(
            f"{path}: is not empty and has no {IDENTITY_FILE}, so it is not a makoredis data directory; "
            "set another one, or restore the file if it was lost"
        )


def _take_lock(path: Path) -> int:
    """Locks the directory until the process ends or the descriptor is closed."""
    descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise DirectoryRefused(
            f"{path}: in use by another makoredis (process {holder}); stop it or set another data directory"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _write_synced(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    """Makes names created or renamed in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
