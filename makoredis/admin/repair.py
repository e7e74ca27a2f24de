"""`makoredis --config FILE --node NAME --repair`: a replica whose data is damaged gets it anew from the others.

A voter that has lost what it acknowledged, or whom it voted for, must not count as that voter ever again: it could help
to elect a leader that lacks an acknowledged write, or vote twice in a term. So it is removed first, by a majority that
does without it, and only then comes back, empty, under the same number, as a learner that is promoted once it has
everything. In this order:

1. the others remove the node; answered when that is chosen;
2. the damaged directory is put aside (it is not deleted: whoever wants to look at it can);
3. an empty directory is made whose node belongs to nobody;
4. the others are asked to add it, and it starts.

Why the number may be used again. The removal is chosen by a majority of the others, so it is in the log of at least one
of any majority of the old members that includes the lost vote. Whoever stands for election without it is refused by
that one, and whoever has it does not count the vote. What the node had acknowledged and a majority had, the leader that
removes it has too: it was elected by a majority without this node, and any such majority has a replica with it.

A repair that was interrupted is simply begun again.
"""

import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path

from makoredis.admin.wire import Address, Refused, Wire
from makoredis.base.config import FileConfig, NodeConfig
from makoredis.base.errors import Fatal
from makoredis.base.ids import NodeId
from makoredis.storage.directory import LOCK_FILE, DataDirectory, check_identity
from makoredis.storage.errors import Damaged
from resp.replies import Reply

WAIT_SECONDS = 60.0
"""For the others to have a leader and to make a change."""
RETRY_SECONDS = 0.2

Facts = dict[bytes, Reply]


class Repair:
    """One node's repair: `check`, `remove` and `put_aside` come before its store is opened, `add` after."""

    def __init__(self, file: FileConfig, node: NodeConfig) -> None:
        """Raises: Fatal for a node that cannot be repaired."""
        self.node = node
        self.others = [each for each in file.nodes if each.id != node.id]
        self.cluster = file.cluster
        if not self.others:
            raise Fatal("--repair fetches the data from other replicas, and there are none; restore a backup instead")
        if node.witness:
            raise Fatal("--repair: a witness has no data; remove it from the cluster and add another one instead")
        self.user = os.environ.get("MAKOREDIS_USER", "default")
        self.password = os.environ.get("MAKOREDIS_PASSWORD") or file.parameters.get("requirepass", "")

    def remove(self) -> None:
        """Has the others remove this node, if it is a member. Returns once that is chosen. Raises: Fatal."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            status = self._status(deadline)
            member = self._member(status)
            if member is None and not status[b"is_changing"]:
                return
            if member is not None and member[b"live"]:
                self._pause(deadline, f"node {self.node.id} seems to run; a node that runs is not repaired")
            elif member is not None and self._is_leaving(status):
                self._pause(deadline, f"some shard does not do without node {self.node.id} yet")
            elif member is not None:
                self._ask((b"MAKO", b"REMOVE", b"%d" % self.node.id), deadline)
            else:
                self._pause(deadline, "another change of the members is not done yet")

    def _is_leaving(self, status: Facts) -> bool:
        """Whether the others have been told to do without this node."""
        goal = status[b"goal"]
        return isinstance(goal, list) and bool(goal) and self.node.id not in goal

    def check(self, path: Path) -> None:
        """Raises: Fatal for a directory that is in use, or that is not this node's."""
        if path.exists():
            directory = DataDirectory(path)
            try:
                self._check_identity(directory)
            finally:
                directory.close()

    def _check_identity(self, directory: DataDirectory) -> None:
        try:
            identity = directory.read_identity()
        except Damaged:
            return  # so much that it cannot say whose it is
        if identity is not None:
            check_identity(directory.path, identity, self.cluster, NodeId(self.node.id))

    def put_aside(self, path: Path) -> Path | None:
        """Renames the data directory. Returns its new name; None if it is empty. Raises: Fatal, OSError."""
        if not path.exists() or {entry.name for entry in path.iterdir()} <= {LOCK_FILE}:
            return None
        directory = DataDirectory(path)
        try:
            stamp = time.strftime("%Y%m%d-%H%M%S")
            names = [path.with_name(f"{path.name}.damaged-{stamp}{suffix}") for suffix in ("", "-2", "-3")]
            aside = next(name for name in names if not name.exists())
            path.rename(aside)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise Fatal(
                f"{path} is where a disk is mounted and cannot be renamed; the others have removed this node, so "
                "nothing in it counts any more: empty it, and start with --repair again"
            ) from None
        finally:
            directory.close()
        return aside

    def add(self) -> None:
        """Has the others add this node, which is empty and about to run. Raises: Fatal."""
        address = f"{self.node.host}:{self.node.peer_port}".encode()
        self._ask((b"MAKO", b"ADD", b"%d" % self.node.id, address), time.monotonic() + WAIT_SECONDS)

    # -- asking the others

    def _status(self, deadline: float) -> Facts:
        """The status as a leader sees it."""
        while True:
            status = _facts(self._ask((b"MAKO", b"STATUS"), deadline))
            cluster = status[b"cluster"]
            if cluster != self.cluster.encode():
                raise Fatal(f"--repair: the other nodes belong to cluster {cluster!r}, not to '{self.cluster}'")
            if status[b"leader"] == status[b"answered_by"]:
                return status
            self._pause(deadline, "the others have no leader: a majority of the members has to run without this one")

    def _member(self, status: Facts) -> Facts | None:
        nodes = status[b"nodes"]
        assert isinstance(nodes, list)
        return next((facts for facts in map(_facts, nodes) if facts[b"id"] == self.node.id), None)

    def _ask(self, words: Sequence[bytes], deadline: float) -> Reply:
        """The first answer of any other node. Raises: Fatal when the time is over, or for an error."""
        while True:
            reason = ""
            for each in self.others:
                try:
                    wire = Wire(Address(each.host, each.port, self.user, self.password), 10.0)
                    try:
                        return wire.ask(*words)
                    finally:
                        wire.close()
                except Refused as error:
                    reason = str(error)
                    if reason.startswith(("ERR", "NOAUTH", "NOPERM", "WRONGPASS")):
                        raise Fatal(f"--repair: node {each.name} refuses {words[1].decode()}: {reason}") from None
            self._pause(deadline, f"the other nodes do not answer ({reason})")

    def _pause(self, deadline: float, why: str) -> None:
        if time.monotonic() > deadline:
            raise Fatal(f"--repair: {why}; nothing was changed here")
        time.sleep(RETRY_SECONDS)


def _facts(reply: Reply) -> Facts:
    """A map, which RESP2 says as a list."""
    assert isinstance(reply, list)
    return {bytes(key): value for key, value in zip(reply[::2], reply[1::2]) if isinstance(key, bytes)}


def advice(file: FileConfig, node: str | None) -> str:
    """What to do about damaged data."""
    if len(file.nodes) > 1 and node is not None:
        command = f"makoredis --config {file.path} --node {node} --repair"
        return f"the other replicas have it all: {command} fetches it from them"
    return "do not start a node on it as it is; restore a backup into an empty directory"

