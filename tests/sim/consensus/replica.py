"""A driver for one core: a disk that loses what was not synced, and a machine that applies entries.

It does exactly what the type of `Ready` asks for, with as much delay and as little order as that permits.
"""

from collections import deque
from collections.abc import Callable
from random import Random

import msgspec

from makoredis.base.ids import Index, NodeId
from makoredis.consensus.core import CoreConfig, Outgoing, Ready
from makoredis.consensus.messages import Message
from makoredis.consensus.raft import Raft
from makoredis.consensus.types import Entry, EntryKind, HardState, SnapshotMetadata
from tests.sim.consensus.checkers import Observer
from tests.sim.consensus.network import Clock, Network

Image = list[tuple[int, int, bytes]]
"""What a machine has applied: index, term, payload of normal entries."""


class Disk:
    """What survives a crash."""

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.log: dict[int, Entry] = {}
        self.checkpoint: tuple[SnapshotMetadata, Image] | None = None

    def write(self, hard_state: HardState | None, entries: list[Entry]) -> None:
        if hard_state is not None:
            self.hard_state = hard_state
        if entries:
            for index in [index for index in self.log if index >= entries[0].index]:
                del self.log[index]
            self.log.update({entry.index: entry for entry in entries})

    def write_checkpoint(self, metadata: SnapshotMetadata, image: Image) -> None:
        self.checkpoint = (metadata, image)
        for index in [index for index in self.log if index <= metadata.index]:
            del self.log[index]

    def install(self, metadata: SnapshotMetadata, image: Image) -> None:
        self.checkpoint = (metadata, image)
        self.log.clear()

    def holds(self, index: Index, term: int) -> bool:
        if self.checkpoint is not None and self.checkpoint[0].index >= index:
            return True
        return index in self.log and self.log[index].term == term


class Replica:
    """One node: core, disk, machine, clock of its own speed."""

    TICK_US = 10_000

    def __init__(
        self, config: CoreConfig, clock: Clock, network: Network, rng: Random, observer: Observer, is_witness: bool
    ) -> None:
        self.config = config
        self.node = config.node
        self.clock = clock
        self.network = network
        self.rng = rng
        self.observer = observer
        self.is_witness = is_witness
        self.disk = Disk()
        self.disk_us = (100, 1_000)
        self.turn_us = (0, 0)
        self.tick_us = self.TICK_US
        self.checkpoint_every = 0
        """Entries between two checkpoints; 0: none."""
        self.compaction_overhead = 5
        self.incarnation = 0
        self.is_up = False
        self.is_paused = False
        self.start()

    # ----- life -----

    def start(self) -> None:
        self.incarnation += 1
        self.is_up = True
        self.is_paused = False
        self.is_catching_up = False
        """Handles what arrived during a pause, before it learns how long the pause was: trusts no lease."""
        self.inbox: list[tuple[NodeId, Message]] = []
        self.held: list[Callable[[], None]] = []
        self.last_tick_at = self.clock.now
        self.pending: deque[tuple[Callable[[], None] | None, Callable[[], None]]] = deque()
        """Writes under way: what gets durable, what happens then."""
        self.is_writing = False
        self.kept_aside = bytearray()
        self.open_images: dict[int, tuple[SnapshotMetadata, bytes]] = {}
        self.waiting_reads: list[tuple[int, int]] = []
        metadata, self.image = self.disk.checkpoint or (None, [])
        self.image = list(self.image)
        self.applied = Index(metadata.index if metadata else 0)
        self.checkpointed = self.applied
        entries = [self.disk.log[index] for index in sorted(self.disk.log)]
        self.core = Raft(self.config, Random(self.rng.random()), self.disk.hard_state, entries, metadata)
        self.observer.started(self)
        self._schedule_tick()
        self.perform()

    def crash(self) -> None:
        """Everything in memory is gone; of the writes under way, the first few may have reached the disk."""
        self.is_up = False
        self.incarnation += 1
        for durable, _ in list(self.pending)[: self.rng.randint(0, len(self.pending))]:
            if durable is not None:
                durable()

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        held, self.held = self.held, []
        self.is_catching_up = True
        for action in held:
            action()
        self.is_catching_up = False
        self._tick()

    def _alive(self, action: Callable[[], None]) -> Callable[[], None]:
        """The action, unless this incarnation is over by then; after the pause, if there is one."""
        incarnation = self.incarnation

        def run() -> None:
            if incarnation != self.incarnation:
                return
            if self.is_paused:
                self.held.append(run)
            else:
                action()

        return run

    def _schedule_tick(self) -> None:
        incarnation = self.incarnation

        def due() -> None:
            if incarnation == self.incarnation:
                self._schedule_tick()
                if not self.is_paused:
                    self._tick()

        self.clock.after(self.tick_us, due)

    def _tick(self) -> None:
        elapsed = (self.clock.now - self.last_tick_at) // self.tick_us
        if elapsed:
            self.last_tick_at += elapsed * self.tick_us
            self.core.tick(elapsed)
            self.perform()

    def receive(self, sender: NodeId, message: Message) -> None:
        """What arrives within one turn is handled together."""
        if not self.is_up:
            return
        self.inbox.append((sender, message))
        if len(self.inbox) == 1:
            self.clock.after(self.rng.randint(*self.turn_us), self._alive(self._handle_inbox))

    def _handle_inbox(self) -> None:
        inbox, self.inbox = self.inbox, []
        for sender, message in inbox:
            self.core.step(sender, message)
        self.perform()

    # ----- performing -----

    def perform(self) -> None:
        while self.core.has_ready():
            self._perform_one(self.core.take_ready())
        self.observer.stepped(self)

    def _perform_one(self, ready: Ready) -> None:
        if ready.role_change is not None:
            self.observer.role_changed(self, ready.role_change)
        self._send(ready.messages)
        self._write(ready)
        self._apply(ready.committed)
        for read in ready.read_states:
            self.waiting_reads.append((read.context, read.index))
        for context in ready.failed_reads:
            self.observer.read_failed(self, context)
        self._serve_reads()
        for number in ready.closed_transfers:
            self.open_images.pop(number, None)
        self._snapshots(ready)

    def _send(self, messages: list[Outgoing]) -> None:
        for to, message in messages:
            self.network.send(self.node, to, message)

    def _write(self, ready: Ready) -> None:
        if ready.entries or ready.hard_state is not None:
            hard_state, entries = ready.hard_state, list(ready.entries)

            def then() -> None:
                self._send(ready.messages_after_persist)
                if entries:
                    self.core.persisted(entries[-1].index, entries[-1].term)

            self._enqueue(lambda: self.disk.write(hard_state, entries), then)
        elif ready.messages_after_persist:
            if self.pending:
                self._enqueue(None, lambda: self._send(ready.messages_after_persist))
            else:
                self._send(ready.messages_after_persist)

    def _enqueue(self, durable: Callable[[], None] | None, then: Callable[[], None]) -> None:
        self.pending.append((durable, then))
        if not self.is_writing:
            self.is_writing = True
            self._sync()

    def _sync(self) -> None:
        """One synced write of everything queued by now."""
        count = len(self.pending)

        def done() -> None:
            batch = [self.pending.popleft() for _ in range(count)]
            for durable, _ in batch:
                if durable is not None:
                    durable()
            for _, then in batch:
                then()
            self.is_writing = bool(self.pending)
            if self.pending:
                self._sync()
            self.perform()

        self.clock.after(self.rng.randint(*self.disk_us), self._alive(done))

    def _apply(self, entries: list[Entry]) -> None:
        for entry in entries:
            self.observer.applying(self, entry)
            self.applied = entry.index
            if entry.kind is EntryKind.NORMAL:
                self.image.append((entry.index, entry.term, entry.payload))
        if entries:
            self.core.applied(self.applied)
            if self.checkpoint_every and self.applied >= self.checkpointed + self.checkpoint_every:
                self._checkpoint()

    def _checkpoint(self) -> None:
        metadata, image = self.core.snapshot_metadata(self.applied), list(self.image)
        self.checkpointed = self.applied

        def then() -> None:
            self.core.compact(Index(max(0, metadata.index - self.compaction_overhead)))

        self._enqueue(lambda: self.disk.write_checkpoint(metadata, image), then)

    # ----- snapshots -----

    def _snapshots(self, ready: Ready) -> None:
        for request in ready.chunk_requests:
            if request.metadata is None:
                metadata = self.core.snapshot_metadata(self.applied)
                self.open_images[request.transfer] = (metadata, msgspec.msgpack.encode(self.image))
            if request.transfer not in self.open_images:
                self.core.chunks_unavailable(request.transfer)
                continue
            metadata, raw = self.open_images[request.transfer]
            end = request.offset + request.bytes_max
            self.core.supply_chunk(
                request.transfer, metadata, request.offset, raw[request.offset : end], end >= len(raw)
            )
        for write in ready.chunk_writes:
            if write.offset == 0:
                self.kept_aside.clear()
            assert write.offset == len(self.kept_aside), "a chunk was handed out at the wrong place"
            self.kept_aside += write.data
            received, receipt = len(self.kept_aside), write.receipt
            self._enqueue(None, lambda receipt=receipt, received=received: self.core.chunk_stored(receipt, received))
        if ready.install is not None:
            metadata = ready.install
            image = msgspec.msgpack.decode(bytes(self.kept_aside), type=Image) if self.kept_aside else []

            def then() -> None:
                self.image = list(image)
                self.applied = self.checkpointed = metadata.index
                self.observer.installed(self, metadata)
                self.core.snapshot_installed(metadata)

            self._enqueue(lambda: self.disk.install(metadata, image), then)

    # ----- reads -----

    def read(self, context: int) -> None:
        self.core.read_index(context)
        self.perform()

    def _serve_reads(self) -> None:
        ready = [context for context, index in self.waiting_reads if index <= self.applied]
        self.waiting_reads = [read for read in self.waiting_reads if read[1] > self.applied]
        for context in ready:
            self.observer.read_served(self, context)
