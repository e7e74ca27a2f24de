"""Bringing a replica up to date with a snapshot, both sides (Raft §7).

The machine moves no state itself. It asks the driver for chunks to send (`ChunkRequest`), hands it the ones that arrive
(`ChunkWrite`), and says when a complete snapshot takes the place of the state (`Ready.install`).

    leader:    begin → ask driver → send chunk → receiver has it → ask driver … → last chunk → installed → replicate
    follower:  chunk at the expected offset → driver keeps it aside → report … → all there → install → report

* One chunk is under way at a time; the receiver says from where to go on. A lost chunk or answer is sent again after an
  election timeout; a receiver that restarted answers 0 and gets it all again; a new leader begins a new transfer.
* Chunks kept aside never count: until `install` is done, log and state are the old ones.
* A log witness gets a snapshot without data: its metadata is all it keeps.

Left out: more than one chunk in flight. On a network where that matters, make chunks larger.
"""

from makoredis.base.errors import Fatal
from makoredis.base.ids import Index, NodeId
from makoredis.consensus.core import ChunkRequest, ChunkWrite
from makoredis.consensus.messages import SnapshotChunk, SnapshotResponse
from makoredis.consensus.progress import OutgoingTransfer, Progress
from makoredis.consensus.retention import snapshot_metadata
from makoredis.consensus.state import IncomingTransfer, RaftState
from makoredis.consensus.types import Role, SnapshotMetadata

GIVE_UP_TIMEOUTS = 10
"""Election timeouts of silence after which a transfer is given up, so that the driver can release the snapshot."""

# ----- leader -----


def begin(state: RaftState, node: NodeId, progress: Progress) -> None:
    """The follower needs entries that are not in memory any more."""
    if not progress.is_live(state.now, state.config.election_ticks):
        return
    state.transfer_count += 1
    transfer = OutgoingTransfer(state.transfer_count, state.now)
    progress.become_snapshot(transfer)
    if progress.is_witness:
        transfer.metadata = snapshot_metadata(state, state.log.applied_index)
        transfer.is_last = True
        _send_chunk(state, node, transfer, b"")
    else:
        _ask_driver(state, node, transfer)


def supply_chunk(
    state: RaftState, number: int, metadata: SnapshotMetadata, offset: int, data: bytes, is_last: bool
) -> None:
    """The driver's answer to a `ChunkRequest`."""
    node, progress, transfer = _find(state, number)
    if progress is None or transfer is None or not transfer.is_awaiting_driver or offset != transfer.offset:
        return
    if transfer.metadata is None:
        transfer.metadata = metadata
    if metadata != transfer.metadata or metadata.index < state.log.base_index:
        give_up(state, progress)
        return
    transfer.is_awaiting_driver = False
    transfer.end = max(transfer.end, offset + len(data))
    transfer.is_last = transfer.is_last or is_last
    _send_chunk(state, node, transfer, data)


def chunks_unavailable(state: RaftState, number: int) -> None:
    """The driver cannot go on with this snapshot."""
    _, progress, _ = _find(state, number)
    if progress is not None:
        give_up(state, progress)


def give_up(state: RaftState, progress: Progress) -> None:
    """Ends a transfer; the next answer to a heartbeat begins a new one if it is still needed."""
    state.close_transfer(progress)
    progress.become_probe(Index(progress.match_index + 1))
    progress.is_paused = True


def is_done(state: RaftState, progress: Progress) -> bool:
    """Whether the follower can go on from the log: has the snapshot, or its log reaches further than it seemed."""
    metadata = progress.transfer.metadata if progress.transfer is not None else None
    return progress.match_index >= state.log.base_index or (
        metadata is not None and progress.match_index >= metadata.index
    )


def tick(state: RaftState) -> None:
    """Sends again what got no answer; gives up on silent receivers."""
    ticks = state.config.election_ticks
    for node, progress in state.peers.items():
        transfer = progress.transfer
        if transfer is None:
            continue
        if not progress.is_live(state.now, ticks * GIVE_UP_TIMEOUTS):
            give_up(state, progress)
        elif not transfer.is_awaiting_driver and state.now - transfer.sent_at >= ticks:
            if progress.is_witness:
                _send_chunk(state, node, transfer, b"")
            else:
                _ask_driver(state, node, transfer)


def on_snapshot_response(state: RaftState, sender: NodeId, message: SnapshotResponse) -> None:
    """The receiver has so many bytes, or the whole snapshot in place."""
    progress = state.peers.get(sender)
    if progress is None:
        return
    progress.heard_at = state.now
    transfer = progress.transfer
    if transfer is None or transfer.number != message.transfer or transfer.metadata is None:
        return
    if message.received == transfer.end and transfer.is_last:
        transfer.sent_at = state.now  # Complete: it is being installed.
    elif transfer.is_awaiting_driver or message.received == transfer.offset or message.received > transfer.end:
        return  # Late or repeated: answering each of these would multiply them.
    elif message.received == 0:
        state.close_transfer(progress)
        begin(state, sender, progress)
    else:
        transfer.offset = message.received
        _ask_driver(state, sender, transfer)


def _ask_driver(state: RaftState, node: NodeId, transfer: OutgoingTransfer) -> None:
    transfer.is_awaiting_driver = True
    bytes_max = state.limits.snapshot_chunk_bytes
    state.chunk_requests.append(
        ChunkRequest(transfer.number, node, state.log.base_index, transfer.metadata, transfer.offset, bytes_max)
    )


def _send_chunk(state: RaftState, node: NodeId, transfer: OutgoingTransfer, data: bytes) -> None:
    if transfer.metadata is None:
        raise Fatal(f"snapshot transfer {transfer.number} sends bytes of no snapshot")
    transfer.sent_at = state.now
    is_last = transfer.is_last and transfer.offset + len(data) == transfer.end
    state.send(node, SnapshotChunk(state.term, transfer.number, transfer.metadata, transfer.offset, data, is_last))


def _find(state: RaftState, number: int) -> tuple[NodeId, Progress | None, OutgoingTransfer | None]:
    for node, progress in state.peers.items():
        if progress.transfer is not None and progress.transfer.number == number:
            return node, progress, progress.transfer
    return state.node, None, None


# ----- follower -----


def receive(state: RaftState, sender: NodeId, message: SnapshotChunk) -> None:
    """A chunk arrived: kept aside if it is the next one, else the leader is told where to go on."""
    metadata = message.metadata
    if state.installing is not None:
        return
    if _has_already(state, metadata):
        return
    incoming = state.receiving
    if incoming is None or not incoming.is_same(sender, state.term, message.transfer, metadata):
        if message.offset:
            state.send(sender, SnapshotResponse(state.term, message.transfer, 0))
            return
        state.transfer_count += 1
        incoming = IncomingTransfer(state.transfer_count, sender, state.term, message.transfer, metadata)
        state.receiving = incoming
    elif message.offset != incoming.written or incoming.is_complete:
        if incoming.stored == incoming.written:
            _report(state, incoming)
        return
    incoming.written += len(message.data)
    incoming.is_complete = message.is_last
    state.chunk_writes.append(ChunkWrite(incoming.receipt, metadata, message.offset, message.data, message.is_last))


def chunk_stored(state: RaftState, receipt: int, received: int) -> None:
    """The driver keeps the first `received` bytes; when that is all, they are installed."""
    incoming = state.receiving
    if incoming is None or incoming.receipt != receipt:
        return
    incoming.stored = received
    _report(state, incoming)
    if incoming.is_complete and received == incoming.written:
        state.receiving = None
        if not _has_already(state, incoming.metadata):
            state.installing = incoming.metadata
            state.is_install_handed = False


def _has_already(state: RaftState, metadata: SnapshotMetadata) -> bool:
    """Whether the log contains what the snapshot stands for: then it is worth keeping, with what lies behind.

    Entries may have arrived while the snapshot did; they were acknowledged, so an older snapshot must not replace them.
    """
    log = state.log
    if metadata.index > log.commit_index and not log.matches(metadata.index, metadata.term):
        return False
    log.commit_to(metadata.index)
    if state.role is Role.FOLLOWER:
        state.acknowledge(metadata.index)
    return True


def _report(state: RaftState, incoming: IncomingTransfer) -> None:
    if incoming.term == state.term:
        state.send(incoming.sender, SnapshotResponse(state.term, incoming.number, incoming.stored))


def installed(state: RaftState, metadata: SnapshotMetadata) -> None:
    """The driver put the snapshot in place of state and log."""
    if state.installing != metadata:
        return
    state.installing = None
    state.log.restore(metadata)
    state.membership.restore(metadata.index, metadata.configuration)
    state.acknowledge(metadata.index)


def rejected(state: RaftState, metadata: SnapshotMetadata) -> None:
    """What arrived was damaged; the leader will ask, be answered 0, and begin again."""
    if state.installing == metadata:
        state.installing = None
