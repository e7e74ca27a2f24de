"""One node: its shards and its disk, in a process. How they are loaded: `groups`."""

import time
from pathlib import Path
from random import Random, SystemRandom
from typing import Protocol, get_args

from makoredis.base import console
from makoredis.base.ids import NodeId, ShardId
from makoredis.cluster.clocks import PeerClocks
from makoredis.cluster.full_disk import FullDisk
from makoredis.cluster.groups import SOLE_SHARD, GroupLoader
from makoredis.cluster.host import ShardHost, Token
from makoredis.cluster.keepers import Keepers
from makoredis.cluster.loading import PROGRESS_SECONDS, Progress, load_table
from makoredis.cluster.membership import Group, Membership, ShardMembership
from makoredis.cluster.messages import (
    PROTOCOL_VERSION,
    Consensus,
    Followed,
    Hello,
    PeerMessage,
    QuiescedGroup,
    ShardPeerMessage,
    encode_peer_message,
)
from makoredis.cluster.quiescence import Quiescence
from makoredis.cluster.replica import ShardReplica
from makoredis.cluster.reports import CatchingUp, GroupReports
from makoredis.cluster.settings import NodeSettings
from makoredis.cluster.shards import Shards
from makoredis.cluster.slots import SlotMap
from makoredis.cluster.start_checks import check_members, check_shards, moved_address
from makoredis.cluster.transport import Poller, Transport
from makoredis.consensus.core import Core, Outgoing
from makoredis.consensus.messages import AppendRequest, Message, TimeoutNow, decode_message, encode_message
from makoredis.data.access import Access
from makoredis.data.config import DataConfig
from makoredis.data.keyspace import Keyspace
from makoredis.storage.disk import DiskState, DiskThread, Durability
from makoredis.storage.state import StateTable
from makoredis.storage.store import Store, open_store
from makoredis.txn.executor import Announcement, Executor

_SHARD_MESSAGES = frozenset(get_args(ShardPeerMessage))
DIRTY_BYTES = 200
"""What one key in the list of keys that the next checkpoint has to write takes."""
SPARE_SECONDS = 0.025
"""Entries for followers that are not needed for a majority are sent together as long as this; half a heartbeat."""
SPARE_BYTES_MAX = 16 * 1024
"""Larger messages do not wait: what each costs by itself does not matter beside what is in it, and the faster one of
two replicas is worth more."""
SLOW_SECONDS = 0.003
"""They go at once when an entry is not chosen by then, beside the time for two average writes."""
CONGESTED_BYTES = 64 * 1024 * 1024
"""While so much waits for the disk, clients' requests are left in their sockets. A turn may still add what it has read
and what commands make of that; the disk thread refuses more than 256 MiB."""


class Forwarding(Protocol):
    """Who handles what nodes say to each other about clients (`makoredis.server.forwarding`)."""

    def peer_message(self, sender: NodeId, message: PeerMessage) -> None: ...

    def peer_connected(self, node: NodeId) -> None: ...

    def peer_called(self, node: NodeId, incarnation: int) -> None: ...

    def peer_gone(self, node: NodeId) -> None: ...

    def run_part(self, access: Access, operation: bytes) -> bytes:
        """Runs what a shard has to do for a transaction (`txn.messages.Part`)."""
        ...


class Node:
    """The shards that this process hosts. `host` is the only one while there is one shard."""

    def __init__(
        self, store: Store, durability: Durability, databases: int, config: DataConfig, settings: NodeSettings
    ) -> None:
        self.store = store
        self.durability = durability
        self.settings = settings
        self.is_replicated = settings.is_replicated
        self.incarnation = SystemRandom().getrandbits(62)
        self.transport: Transport | None = None
        self.reports = GroupReports()
        self.catching_up = CatchingUp(time.monotonic())
        self.quiescence = Quiescence(settings.id, settings.max_staleness_seconds)
        self.clocks = PeerClocks(settings.max_clock_offset_ms, _wall_us, time.monotonic)
        self.forwarding: Forwarding | None = None
        self.now = time.monotonic
        self.heard_at = 0.0
        """When the leader was last heard of; monotonic seconds."""
        self._ticked_at = self.now()
        self._announcements: list[Announcement] = []
        # With durability `memory` the thread writes nothing but checkpoints, and those are to last.
        writes_log = durability is not Durability.MEMORY
        self.disk: DiskThread[Token] = DiskThread(store, durability if writes_log else Durability.SYNC)
        self.disk_fd: int = self.disk.wakeup_fd
        self.full_disk = FullDisk(self.disk, store.space, durability, self.log)
        self.log_bytes_per_checkpoint = settings.log_bytes_per_checkpoint
        self._table = StateTable(store.engine, SOLE_SHARD)
        self._space = Keyspace(databases, config)
        self._executor = Executor(self._space, is_durable=writes_log, is_replicated=self.is_replicated)
        self.host: ShardHost
        self.keepers: Keepers
        self.membership: Membership
        self.shards: Shards | None = None
        """Where there are several; then the `host` keeps no keys."""

    # -- starting

    def load(self, progress: Progress) -> None:
        """Reads the state table and the log, and leads the shard once everything in the log is applied.

        Raises: StorageError when what is on the disk is not what was written.
        """
        loader = GroupLoader(self.store, self.disk, self.durability, self.settings, self._send)
        check_shards(self.store.engine, self._table, self.settings.shards, self.settings.first_shards)
        loader.initialise(self._table)
        stored_databases = load_table(self.store.engine, self._table, self._executor, progress)
        loader.sweep(self._table)
        self.host = loader.host(self._table, self._executor)
        self.host.flush_peers = self.flush
        stored, settings = self.host.core.status().configuration, self.settings
        first = {*settings.members, *settings.witnesses}
        check_members(stored, settings.id, first, is_alone=not self.is_replicated)
        self.keepers = Keepers(self.host, self.store, self._table, self.durability)
        self.host.snapshots = self.keepers.snapshots
        self.membership = Membership(settings.id, self.host, settings.addresses, self._dial, self._report_followed)
        self.host.applied_index = self._table.checkpoint.index
        if self.settings.shards > 1:
            self._load_shards(loader, progress)
        if not self.is_replicated:
            self._replay(progress)
        if stored_databases != len(self._space.by_id):
            # What the log says from now on is about databases that only the configuration knows of so far.
            self.keepers.checkpointer.request()

    def _load_shards(self, loader: GroupLoader, progress: Progress) -> None:
        settings = self.settings
        rng = Random(SystemRandom().getrandbits(64))
        slots = SlotMap(settings.shards, settings.first_shards)
        self.shards = shards = Shards(settings.id, self.incarnation, slots, self._make_space, self._send_one, rng)
        shards.peers = self._peers
        shards.is_connected = self.is_connected
        shards.sessions.close_processes(self.store.directory.begin_process(self.incarnation))
        heartbeat_us = int(settings.tick_seconds * 1e6)
        shards.set_patience(heartbeat_us, settings.election_ticks * heartbeat_us)
        for shard in slots.shards:
            loaded = loader.shard(shards, shard, self._make_space(), self._run_part, progress)
            shards.replicas[shard] = loaded.replica
            self.membership.shards[shard] = ShardMembership(
                settings.id, shard, loaded.replica, is_spread=settings.spreads_leaders
            )
            self.keepers.add(loaded.replica, loaded.checkpointer, loaded.snapshots)

    def _make_space(self) -> Keyspace:
        return Keyspace(len(self._space.by_id), self._space.config)

    def _run_part(self, access: Access, operation: bytes) -> bytes:
        assert self.forwarding is not None
        return self.forwarding.run_part(access, operation)

    def _peers(self) -> list[NodeId]:
        return [] if self.transport is None else list(self.transport.links)

    def _send_one(self, node: NodeId, message: PeerMessage) -> None:
        if self.transport is not None:
            self.transport.send(node, message)

    def _replay(self, progress: Progress) -> None:
        host = self.host
        host.core.campaign()
        next_report = time.monotonic() + PROGRESS_SECONDS
        while True:
            host.perform()
            if host.is_leader and host.applied_index == host.core.status().last_index:
                return
            self.disk_written()
            self._stop_if_full()
            if time.monotonic() > next_report:
                next_report = time.monotonic() + PROGRESS_SECONDS
                progress(f"replaying the log: entry {host.applied_index:,} of {host.core.status().last_index:,}")
            if not host.core.has_ready():
                time.sleep(0.0002)

    # -- peers

    def connect(self, poller: Poller) -> None:
        """Listens for the peers, and dials them.

        Raises: OSError when the address is taken.
        """
        settings = self.settings
        if settings.listen is None:
            return
        hello = Hello(
            PROTOCOL_VERSION,
            settings.cluster,
            settings.id,
            self.incarnation,
            self.clocks.wall_us(),
            *settings.listen,
            *settings.clients.get(settings.id, ("", 0)),
        )
        self.transport = Transport(hello, poller, self, self.now, self.clocks)
        self.transport.delay_seconds = settings.peer_delay_seconds
        self.transport.listen(*settings.listen)
        moved = moved_address(self.host.core.status().configuration, settings.id, settings.listen)
        if moved is not None:
            self.log("warning", moved)
        self.membership.tick()

    def _dial(self, addresses: dict[NodeId, tuple[str, int]]) -> None:
        if self.transport is not None:
            self.transport.set_peers(addresses)

    def _report_followed(self, node: NodeId, shard: ShardId, number: int) -> None:
        if node == self.settings.id:
            self.membership.followed(shard, number)
        else:
            self._send_one(node, Followed(shard, number))

    def client_addresses(self) -> dict[NodeId, tuple[str, int]]:
        """Where the members listen for clients, as far as it is known."""
        transport = self.transport
        known = {**self.settings.clients, **({} if transport is None else transport.clients)}
        members = self.host.core.status().configuration.members()
        return {node: at for node, at in known.items() if node in members}

    def peer_message(self, sender: NodeId, message: PeerMessage) -> None:
        """A peer said something."""
        if type(message) is Consensus:
            if message.shard != SOLE_SHARD:
                self._shard_message(sender, message)
                return
            if sender == self.host.leader:
                self.heard_at = self.now()
            self.host.serves_until = 0.0
            step = decode_message(message.encoded)
            if not self._declines(step):
                self.host.core.step(sender, step)
        elif type(message) in _SHARD_MESSAGES:
            if self.shards is not None:
                self.shards.peer_message(sender, message)  # type: ignore[arg-type]
        elif type(message) is Followed:
            self.membership.followed(ShardId(message.shard), message.number)
        elif self.forwarding is not None:
            self.forwarding.peer_message(sender, message)

    def _shard_message(self, sender: NodeId, message: Consensus) -> None:
        replica = None if self.shards is None else self.shards.replicas.get(ShardId(message.shard))
        if replica is None:
            return
        step = decode_message(message.encoded)
        if not self._declines(step):
            replica.step(sender, step)

    def _declines(self, message: Message) -> bool:
        """Whether it asks a node with a full disk to lead: it could not, and with all disks full nobody would."""
        return self.full_disk.refusal is not None and type(message) is TimeoutNow

    def peer_stated(self, node: NodeId, quiesced: list[QuiescedGroup]) -> None:
        """A peer said which groups are quiesced there."""
        for shard, at in self.quiescence.hear(node, quiesced, self.cores(), self.now()).items():
            if shard == SOLE_SHARD:
                self.heard_at = max(self.heard_at, at)
            elif self.shards is not None:
                self.shards.led_at(shard, at)

    def groups(self) -> dict[ShardId, Group]:
        """What is here of every group."""
        return {SOLE_SHARD: self.host, **{replica.shard: replica for replica in self.replicas()}}

    def cores(self) -> dict[ShardId, Core]:
        """Of all groups."""
        return {shard: group.core for shard, group in self.groups().items()}

    def wake(self) -> None:
        """Something has changed among the nodes: no group sleeps through it."""
        self.host.core.wake()
        for replica in self.replicas():
            replica.core.wake()

    def is_quiesced(self) -> bool:
        """Whether nothing is to be done here but to look at the peers now and then."""
        if self.host.core.quiesced() is None or self.transport is None or not self.transport.is_complete():
            return False
        if self.shards is not None and not (self.shards.is_idle() and self.catching_up.is_over):
            return False
        is_writing = self.keepers.is_busy() or self.host.executor.pending_count or self.host.executor.has_entry()
        return not is_writing and self.full_disk.refusal is None and self.disk.state is DiskState.RUNNING

    def peer_connected(self, node: NodeId) -> None:
        self.wake()
        if self.forwarding is not None:
            self.forwarding.peer_connected(node)

    def peer_called(self, node: NodeId, incarnation: int) -> None:
        self.wake()
        if self.forwarding is not None:
            self.forwarding.peer_called(node, incarnation)

    def peer_gone(self, node: NodeId) -> None:
        self.wake()
        if self.forwarding is not None:
            self.forwarding.peer_gone(node)

    def peer_lost(self, node: NodeId) -> None:
        self.wake()
        self.host.core.unreachable(node)
        for replica in self.replicas():
            replica.core.unreachable(node)

    def memory_beside_data(self) -> int:
        """About how many bytes the log, what waits for the disk, the storage engine and the list of what the next
        checkpoint writes take. They have limits of their own, and evicting keys would not make them smaller."""
        cores = [self.host.core] if self.shards is None else [each.core for each in self.shards.replicas.values()]
        log_bytes = sum(core.status().log_bytes for core in cores) + self.disk.queued_bytes
        changed = sum(map(len, self.host.executor.dirty))
        if self.shards is not None:
            changed += sum(local.written.changed_count() for local in self.shards.snapshot.local.values())
        return log_bytes + self.store.engine.memory_bytes() + DIRTY_BYTES * changed

    def spaces(self) -> list[Keyspace]:
        """Where this node has keys: one for each shard."""
        if self.shards is None:
            return [self.host.space]
        return [local.space for local in self.shards.snapshot.local.values()]

    def is_connected(self, node: NodeId) -> bool:
        """Whether a message to this node would leave."""
        return self.transport is not None and self.transport.is_up(node)

    def listens_at(self, node: NodeId) -> tuple[str, int] | None:
        """Where a node says that it listens for its peers, if it has said so to this one."""
        if node == self.settings.id:
            return self.settings.listen
        return None if self.transport is None else self.transport.addresses.get(node)

    def replicas(self) -> list[ShardReplica]:
        """Those of the shards with keys, where there are several."""
        return [] if self.shards is None else list(self.shards.replicas.values())

    def log(self, level: str, text: str) -> None:
        console.log(level, text)

    def _send(self, shard: ShardId, messages: list[Outgoing]) -> None:
        transport = self.transport
        if transport is None:
            return  # on the way down
        spares = self.host.core.spares() if shard == SOLE_SHARD and self._may_spare() else ()
        last, encoded = None, b""
        for node, message in messages:
            if message is not last:  # followers at the same place share one
                last, encoded = message, encode_peer_message(Consensus(shard, encode_message(message)))
            is_small = type(message) is AppendRequest and len(encoded) <= SPARE_BYTES_MAX
            transport.send_encoded(node, encoded, may_wait=is_small and node in spares)

    def _may_spare(self) -> bool:
        return self.shards is None and self.host.is_leader

    # -- running

    def end_turn(self) -> list[Announcement]:
        """Proposes what was executed in this turn, and performs what follows from it."""
        host = self.host
        if host.gathering.is_on:
            host.gathering.look(host.executor.turn_count(), self.now())
        if host.may_propose():
            host.propose()
        announcements = host.perform()
        if host.undone_gates:
            self.keepers.checkpointer.abandon()
        if self._announcements:
            announcements = self._announcements + announcements
            self._announcements = []
        if self.shards is not None:
            for replica in self.shards.replicas.values():
                replica.gather(self.now())
        return announcements or host.executor.take_announcements()

    def is_gathering(self) -> bool:
        """Whether an entry waits for something that no event may end: turns have to go on."""
        if self.host.is_gathering():
            return True
        return self.shards is not None and any(replica.is_gathering() for replica in self.shards.replicas.values())

    def flush(self) -> None:
        """Sends what this turn has for the peers."""
        transport = self.transport
        if transport is not None:
            if transport.held_at:
                self._release_if_due(transport)
            transport.flush()

    def _release_if_due(self, transport: Transport) -> None:
        """What spare followers need not have at once has waited for long enough, or the others are not fast enough."""
        now, host = self.now(), self.host
        is_unchosen = host.executor.last_proposed > host.applied_index
        is_slow = is_unchosen and now - transport.held_last_at > self.slow_seconds()
        if is_slow or now - transport.held_at > SPARE_SECONDS or not host.is_leader:
            transport.release()

    def is_sparing(self) -> bool:
        """Whether something for the peers waits for more."""
        return self.transport is not None and self.transport.held_at > 0

    def slow_seconds(self) -> float:
        """If an entry takes longer than this, or nothing has happened for so long, nothing waits for more."""
        return SLOW_SECONDS + 2 * self.disk.average_write_seconds

    def hurry(self) -> None:
        """Nothing waits for more any longer."""
        if self.transport is not None:
            self.transport.release()
            self.transport.flush()

    def disk_written(self) -> None:
        """Tells the cores what the disk thread has written.

        Raises: StorageError when the disk has failed for good.
        """
        for token in self.disk.take_completed():
            token.written()
        if self.disk.state is DiskState.FAILED:
            assert self.disk.failure is not None
            raise self.disk.failure
        if self.disk.state is not DiskState.RUNNING or self.full_disk.refusal is not None:
            self.full_disk.look(self.now())  # otherwise each tick does

    def serves(self, is_use: bool = True) -> bool:
        """Whether transactions may run here now. Asked after a request has come, never before: this process may have
        been stopped since it last looked at the time, for longer than its lease.

        The answer lasts for the rest of a tick, unless something happens that could change it: this is asked for each
        client in each turn.
        """
        host = self.host
        if self.now() < host.serves_until:
            return True
        self.account_time()
        serves = host.serves(is_use)
        if serves and is_use:
            host.serves_until = self._ticked_at + self.settings.tick_seconds
        return serves

    def account_time(self) -> None:
        """Tells the core of the time that has passed."""
        elapsed = int((self.now() - self._ticked_at) / self.settings.tick_seconds)
        if elapsed:
            self._ticked_at += elapsed * self.settings.tick_seconds
            self.host.serves_until = 0.0
            self.host.core.tick(elapsed)
            self.host.is_held = False
            if self.shards is not None:
                self.shards.tick_cores(elapsed)
                self.shards.tick_due = self._ticked_at + self.settings.tick_seconds

    def tick(self) -> None:
        """About `tick_seconds` have passed."""
        self.account_time()
        self.host.propose()  # a checkpoint is made of what is in the log
        if self.shards is not None:
            self.shards.tick()
            if not self.catching_up.is_over:
                self._catch_up(self.shards)
        if self.transport is not None:
            self.membership.tick()
            self._state()
            self.transport.tick()
            connected = [node for node in self.transport.links if self.transport.is_up(node)]
            for level, text in self.reports.look(self.membership.statuses, connected, self.now()):
                self.log(level, text)
        self.full_disk.look(self.now())
        is_refusing = self.full_disk.refusal is not None
        if is_refusing and self.is_replicated:
            self.full_disk.hand_over(self.groups(), self.now())
        self.keepers.tick(self.log_bytes_per_checkpoint, self.disk.state, is_refusing=is_refusing)

    def _state(self) -> None:
        """Tells the peers now and then which groups are quiesced here."""
        now = self.now()
        if self.quiescence.is_due(now):
            quiesced = self.quiescence.state(self.cores(), now)
            for group in quiesced:
                if group.leader == self.settings.id and self.shards is not None and group.shard != SOLE_SHARD:
                    self.shards.led_at(ShardId(group.shard), now - group.age_ms / 1000)
            if quiesced and self.transport is not None:
                self.transport.state(quiesced)

    def _catch_up(self, shards: Shards) -> None:
        knowledge, snapshot = shards.knowledge, shards.snapshot
        snapshot_ts = snapshot.ts if snapshot.is_whole else 0
        heard = len(knowledge.watermarks)
        text = self.catching_up.look(len(shards.replicas), heard, knowledge.global_ts, snapshot_ts, self.now())
        if text is not None:
            self.log("info", text)

    def is_congested(self) -> bool:
        """Whether so much waits for the disk that no more requests should be taken."""
        return self.disk.queued_bytes > CONGESTED_BYTES and self.durability is not Durability.MEMORY

    def checkpoint_and_wait(self) -> None:
        """Writes a checkpoint of what there is now, and returns when it is on the disk (SAVE, shutdown).

        Raises: StorageError when the disk has failed.
        """
        checkpointer = self.keepers.checkpointer
        checkpointer.request()
        while checkpointer.is_requested or checkpointer.is_running:
            self.tick()
            self._announcements += self.host.perform()
            self.disk_written()
            self._stop_if_full()
            time.sleep(0.0002)

    def disconnect(self) -> None:
        """Hangs up on the peers."""
        if self.transport is not None:
            self.transport.close()
            self.transport = None

    def _stop_if_full(self) -> None:
        """For when nothing goes on without the disk, at the start and at the end. Raises: DiskFull."""
        if self.disk.state is DiskState.FULL:
            assert self.disk.failure is not None
            raise self.disk.failure

    def close(self, *, saves: bool = True) -> None:
        """Writes what is queued, and releases the directory. Durability `memory` saves all, if `saves`."""
        if self.durability is Durability.MEMORY and saves:
            self.checkpoint_and_wait()
        if self.transport is not None:
            self.transport.close()
        self.keepers.close()
        self.disk.close()
        self.store.close()


def _wall_us() -> int:
    return time.time_ns() // 1000


def open_node(
    directory: Path,
    durability: str,
    databases: int,
    config: DataConfig,
    progress: Progress,
    settings: NodeSettings | None = None,
) -> Node:
    """Opens the data directory and loads what is in it.

    Raises: StorageError (DirectoryRefused, Damaged) with one line that says what to do.
    """
    settings = settings or NodeSettings()
    store = open_store(
        directory,
        cluster=settings.cluster,
        node_id=settings.id,
        now_ms=time.time_ns() // 1_000_000,
        disk_free_bytes_min=settings.disk_free_bytes_min,
        ballast_bytes=settings.disk_ballast_bytes,
    )
    node = Node(store, Durability(durability), databases, config, settings)
    node.load(progress)
    return node
