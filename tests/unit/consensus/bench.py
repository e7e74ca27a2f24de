"""A few cores on a bench: messages move, disks sync and time passes only when a test says so."""

from collections.abc import Iterable
from random import Random
from typing import Any

from makoredis.base.ids import Index, NodeId, Term
from makoredis.consensus.core import CoreConfig, ReadState, Ready
from makoredis.consensus.messages import Message
from makoredis.consensus.raft import Raft
from makoredis.consensus.types import Configuration, Entry, EntryKind, HardState, Role, SnapshotMetadata


def configuration(*voters: int, **sets: Iterable[int]) -> Configuration:
    return Configuration(
        voters=tuple(NodeId(node) for node in voters),
        **{name: tuple(NodeId(node) for node in nodes) for name, nodes in sets.items()},
    )


def entry(index: int, term: int, payload: bytes = b"") -> Entry:
    return Entry(Term(term), Index(index), EntryKind.NORMAL, payload)


class Seat:
    """One core with what its driver has to remember."""

    def __init__(self, config: CoreConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.hard_state = HardState()
        self.log: dict[int, Entry] = {}
        self.snapshot: SnapshotMetadata | None = None
        self.is_disk_held = False
        self.unsynced: list[Ready] = []
        self.is_up = True
        self.start()

    def start(self) -> None:
        entries = [self.log[index] for index in sorted(self.log)]
        self.core = Raft(self.config, Random(self.seed), self.hard_state, entries, self.snapshot)
        self.applied: list[Entry] = []
        self.reads: list[ReadState] = []
        self.failed_reads: list[int] = []
        self.chunk_requests: list[Any] = []
        self.closed_transfers: list[int] = []
        self.chunk_writes: list[Any] = []
        self.installs: list[SnapshotMetadata] = []
        self.unsynced = []

    @property
    def applied_payloads(self) -> list[bytes]:
        return [entry.payload for entry in self.applied if entry.kind is EntryKind.NORMAL]


class Bench:
    """Cores 1…n and the messages between them."""

    def __init__(self, initial: Configuration, nodes: Iterable[int] = (), seed: int = 1, **options: Any) -> None:
        self.wire: list[tuple[NodeId, NodeId, Message]] = []
        self.cuts: set[tuple[int, int]] = set()
        self.lost: tuple[type, ...] = ()
        """Kinds of messages that never arrive."""
        self.sent: list[tuple[NodeId, NodeId, Message]] = []
        """Everything that ever went out."""
        self.seats: dict[int, Seat] = {}
        for node in sorted(initial.members().union(NodeId(node) for node in nodes)):
            known = initial if node in initial.members() else Configuration()
            config = CoreConfig(node=node, configuration=known, **options)
            self.seats[node] = Seat(config, seed * 100 + node)

    def __getitem__(self, node: int) -> Raft:
        return self.seats[node].core

    # ----- performing -----

    def perform(self, node: int) -> None:
        """Takes what is ready; messages go onto the wire, writes are synced unless the disk is held."""
        seat = self.seats[node]
        while seat.is_up and seat.core.has_ready():
            ready = seat.core.take_ready()
            self._post(node, ready.messages)
            seat.unsynced.append(ready)
            seat.applied += ready.committed
            if ready.committed:
                seat.core.applied(ready.committed[-1].index)
            seat.reads += ready.read_states
            seat.failed_reads += ready.failed_reads
            seat.chunk_requests += ready.chunk_requests
            seat.closed_transfers += ready.closed_transfers
            seat.chunk_writes += ready.chunk_writes
            if ready.install is not None:
                seat.installs.append(ready.install)
            if not seat.is_disk_held:
                self._sync(node)

    def sync(self, node: int) -> None:
        """The disk catches up."""
        self._sync(node)
        self.perform(node)

    def _sync(self, node: int) -> None:
        seat = self.seats[node]
        unsynced, seat.unsynced = seat.unsynced, []
        for ready in unsynced:
            if ready.hard_state is not None:
                seat.hard_state = ready.hard_state
            if ready.entries:
                first = ready.entries[0].index
                seat.log = {index: entry for index, entry in seat.log.items() if index < first}
                seat.log.update({entry.index: entry for entry in ready.entries})
            self._post(node, ready.messages_after_persist)
            if ready.entries:
                seat.core.persisted(ready.entries[-1].index, ready.entries[-1].term)

    def _post(self, node: int, messages: Iterable[tuple[NodeId, Message]]) -> None:
        for to, message in messages:
            self.sent.append((NodeId(node), to, message))
            if (node, to) not in self.cuts and type(message) not in self.lost:
                self.wire.append((NodeId(node), to, message))

    # ----- acting -----

    def tick(self, node: int, count: int = 1) -> None:
        for _ in range(count):
            self[node].tick()
            self.perform(node)

    def tick_all(self, count: int = 1) -> None:
        """Time passes for all; messages arrive in between."""
        for _ in range(count):
            for node, seat in self.seats.items():
                if seat.is_up:
                    self.tick(node)
            self.settle()

    def step(self, node: int, sender: int, message: Message) -> None:
        """A hand-made message arrives."""
        self[node].step(NodeId(sender), message)
        self.perform(node)

    def settle(self) -> None:
        """Delivers until nothing moves."""
        while self.wire:
            self.deliver_one()

    def deliver_one(self) -> None:
        sender, to, message = self.wire.pop(0)
        if to in self.seats and self.seats[to].is_up and (sender, to) not in self.cuts:
            self.step(to, sender, message)

    def lead(self, node: int) -> None:
        """Makes a node the leader, the honest way: the others' promises to an earlier leader run out first."""
        for other, seat in self.seats.items():
            if seat.is_up and seat.core.state.role is not Role.LEADER and other != node:
                seat.core.state.heard_at = -1_000_000
        self[node].state.heard_at = -1_000_000
        self[node].campaign()
        self.perform(node)
        self.settle()
        self.tick(node)
        self.settle()
        assert self[node].status().role is Role.LEADER, f"node {node} was not elected"

    def propose(self, node: int, payload: bytes) -> Index:
        index = self[node].propose(payload)
        self.perform(node)
        return index

    def isolate(self, *nodes: int) -> None:
        for node in nodes:
            for other in self.seats:
                if other != node:
                    self.cuts |= {(node, other), (other, node)}

    def partition(self, *groups: Iterable[int]) -> None:
        for group in groups:
            for other in groups:
                if other is not group:
                    self.cuts |= {(a, b) for a in group for b in other}

    def heal(self) -> None:
        self.cuts.clear()

    def crash(self, node: int) -> None:
        self.seats[node].is_up = False

    def restart(self, node: int) -> None:
        self.seats[node].is_up = True
        self.seats[node].start()

    # ----- looking -----

    def role(self, node: int) -> Role:
        return self[node].status().role

    def term(self, node: int) -> int:
        return self[node].status().term

    def log_of(self, node: int) -> list[tuple[int, int]]:
        return [(entry.index, entry.term) for entry in self[node].state.log.entries]

    def sent_by(self, node: int, kind: type) -> list[Any]:
        return [message for sender, _, message in self.sent if sender == node and isinstance(message, kind)]


def with_log(bench: Bench, node: int, terms: list[int], term: int | None = None, vote: int | None = None) -> None:
    """Restarts a node with entries of these terms at 1, 2, …, and forgotten promises."""
    seat = bench.seats[node]
    seat.log = {index: entry(index, at, b"%d/%d" % (index, at)) for index, at in enumerate(terms, 1)}
    seat.hard_state = HardState(Term(term or max(terms, default=0)), NodeId(vote) if vote else None)
    seat.start()
    seat.core.state.heard_at = -1_000_000
    bench.perform(node)
    bench.wire.clear()
