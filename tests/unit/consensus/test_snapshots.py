"""Snapshots in chunks to a replica that is too far behind; compaction; bounded memory."""

from typing import Any

import pytest

from makoredis.base.errors import Busy, ClientError, Fatal
from makoredis.base.ids import Index, NodeId, Term
from makoredis.consensus.core import ChunkRequest, Limits
from makoredis.consensus.messages import AppendRequest, AppendResponse, SnapshotChunk, SnapshotResponse
from makoredis.consensus.types import SnapshotMetadata
from tests.unit.consensus.bench import Bench, configuration, entry

IMAGE = b"0123456789"


def lagging(**options: Any) -> Bench:
    """Leader 1 has forgotten what follower 3 lacks, and has just heard of it again."""
    bench = Bench(configuration(1, 2, 3), limits=Limits(snapshot_chunk_bytes=4), **options)
    bench.lead(1)
    bench.isolate(3)
    for number in range(5):
        bench.propose(1, b"%d" % number)
        bench.settle()
    bench[1].compact(Index(5))
    bench.heal()
    bench.tick_all(2)
    return bench


def request(bench: Bench) -> ChunkRequest:
    return bench.seats[1].chunk_requests[-1]


def supply(bench: Bench, image: bytes = IMAGE) -> None:
    """The leader's driver answers the last request from this image."""
    asked = request(bench)
    metadata = asked.metadata or bench[1].snapshot_metadata(Index(6))
    end = asked.offset + asked.bytes_max
    bench[1].supply_chunk(asked.transfer, metadata, asked.offset, image[asked.offset : end], end >= len(image))
    bench.perform(1)
    bench.settle()


def keep(bench: Bench) -> None:
    """The follower's driver keeps the chunk that arrived last."""
    write = bench.seats[3].chunk_writes[-1]
    bench[3].chunk_stored(write.receipt, write.offset + len(write.data))
    bench.perform(3)
    bench.settle()


def transfer_all(bench: Bench) -> None:
    for _ in range(3):
        supply(bench)
        keep(bench)


def install(bench: Bench) -> None:
    bench[3].snapshot_installed(bench.seats[3].installs[-1])
    bench.perform(3)
    bench.settle()


def test_the_driver_is_asked_for_a_recent_enough_snapshot() -> None:
    bench = lagging()
    asked = request(bench)
    assert (asked.to, asked.offset, asked.metadata, asked.index_min, asked.bytes_max) == (3, 0, None, 5, 4)
    assert bench[1].status().peers[NodeId(3)].state == "snapshot"


def test_a_snapshot_arrives_in_chunks_is_installed_and_replication_goes_on() -> None:
    bench = lagging()
    transfer_all(bench)
    assert b"".join(write.data for write in bench.seats[3].chunk_writes) == IMAGE
    assert [write.offset for write in bench.seats[3].chunk_writes] == [0, 4, 8]
    assert bench.seats[3].installs == [bench[1].snapshot_metadata(Index(6))]
    assert bench[3].status().last_index < 6
    install(bench)
    assert bench[3].status().commit_index == 6
    assert bench[1].status().peers[NodeId(3)].state == "replicate"
    assert bench.seats[1].closed_transfers == [request(bench).transfer]
    bench.propose(1, b"next")
    bench.settle()
    assert bench.seats[3].applied_payloads == [b"next"]


def test_nothing_is_half_installed() -> None:
    """Until the driver says that it is in place, log and marks are the old ones, and no entry is taken or applied."""
    bench = lagging()
    before = bench[3].status()
    transfer_all(bench)
    bench.propose(1, b"meanwhile")
    bench.tick_all(5)
    after = bench[3].status()
    assert (after.last_index, after.commit_index, after.applied_index) == (
        before.last_index,
        before.commit_index,
        before.applied_index,
    )
    assert len(bench.seats[3].installs) == 1
    install(bench)
    bench.tick_all(2)
    assert bench.seats[3].applied_payloads[-1:] == [b"meanwhile"]


def test_the_next_chunk_waits_until_the_last_one_is_kept() -> None:
    bench = lagging()
    supply(bench)
    requests = len(bench.seats[1].chunk_requests)
    bench.tick_all(3)
    assert len(bench.seats[1].chunk_requests) == requests
    keep(bench)
    assert request(bench).offset == 4


def test_a_lost_chunk_is_sent_again() -> None:
    bench = lagging()
    supply(bench)
    keep(bench)
    asked = request(bench)
    bench.cuts |= {(1, 3)}
    supply(bench)
    bench.heal()
    bench.tick_all(12)
    assert len(bench.seats[1].chunk_requests) == 3
    assert (request(bench).offset, request(bench).metadata) == (4, asked.metadata)
    supply(bench)
    keep(bench)
    supply(bench)
    keep(bench)
    assert b"".join(write.data for write in bench.seats[3].chunk_writes) == IMAGE


def test_a_lost_answer_is_asked_for_again_and_the_transfer_resumes() -> None:
    bench = lagging()
    supply(bench)
    bench.cuts |= {(3, 1)}
    keep(bench)
    bench.heal()
    bench.tick_all(12)
    assert request(bench).offset == 0
    supply(bench)
    assert request(bench).offset == 4
    assert len(bench.seats[3].chunk_writes) == 1


def test_repeated_answers_do_not_multiply_chunks() -> None:
    bench = lagging()
    supply(bench)
    keep(bench)
    requests = len(bench.seats[1].chunk_requests)
    answer = bench.sent_by(3, SnapshotResponse)[-1]
    for _ in range(5):
        bench.step(1, 3, answer)
    assert len(bench.seats[1].chunk_requests) == requests


def test_a_receiver_that_restarted_gets_everything_again_as_a_new_transfer() -> None:
    """Another reading of the state might have other bytes: they must not be mixed."""
    bench = lagging()
    supply(bench)
    keep(bench)
    first = request(bench).transfer
    bench.restart(3)
    supply(bench)
    bench.tick_all(12)
    assert request(bench).transfer != first and request(bench).offset == 0 and request(bench).metadata is None
    assert first in bench.seats[1].closed_transfers
    transfer_all(bench)
    install(bench)
    assert bench[3].status().commit_index == 6


def test_a_snapshot_that_cannot_be_read_any_more_starts_again() -> None:
    bench = lagging()
    supply(bench)
    keep(bench)
    first = request(bench)
    bench[1].chunks_unavailable(first.transfer)
    bench.perform(1)
    bench.tick_all(2)
    assert request(bench).transfer != first.transfer and request(bench).offset == 0
    transfer_all(bench)
    install(bench)
    assert bench[3].status().commit_index == 6


def test_a_snapshot_older_than_what_is_needed_is_refused() -> None:
    bench = lagging()
    asked = request(bench)
    too_old = SnapshotMetadata(Index(3), Term(1), configuration(1, 2, 3))
    bench[1].supply_chunk(asked.transfer, too_old, 0, IMAGE, True)
    bench.perform(1)
    assert not bench.sent_by(1, SnapshotChunk)
    bench.tick_all(2)
    assert request(bench).transfer != asked.transfer


def test_a_damaged_snapshot_is_not_installed_and_sent_again() -> None:
    bench = lagging()
    transfer_all(bench)
    bench[3].snapshot_rejected(bench.seats[3].installs[-1])
    bench.perform(3)
    assert bench[3].status().commit_index < 6
    bench.tick_all(12)
    supply(bench)
    bench.tick_all(2)
    assert request(bench).offset == 0
    transfer_all(bench)
    install(bench)
    assert bench[3].status().commit_index == 6


def test_a_new_leader_begins_its_own_transfer() -> None:
    bench = lagging()
    supply(bench)
    keep(bench)
    old = request(bench).transfer
    bench[2].compact(Index(5))
    bench.isolate(1)
    bench.lead(2)
    bench.tick_all(3)
    asked = bench.seats[2].chunk_requests[-1]
    bench[2].supply_chunk(asked.transfer, bench[2].snapshot_metadata(Index(6)), 0, b"abcd", False)
    bench.perform(2)
    bench.settle()
    assert [write.data for write in bench.seats[3].chunk_writes] == [b"0123", b"abcd"]
    assert bench.seats[3].chunk_writes[0].receipt != bench.seats[3].chunk_writes[1].receipt
    bench.heal()
    bench.tick_all(12)
    assert old in bench.seats[1].closed_transfers


def test_what_was_kept_of_an_earlier_transfer_does_not_count_for_a_later_one() -> None:
    bench = lagging()
    metadata = bench[1].snapshot_metadata(Index(6))
    bench.step(3, 1, SnapshotChunk(Term(1), 50, metadata, 0, b"old!", False))
    late = bench.seats[3].chunk_writes[-1]
    bench.step(3, 1, SnapshotChunk(Term(1), 51, metadata, 0, b"new", False))
    bench[3].chunk_stored(late.receipt, 4)
    bench.perform(3)
    assert not bench.sent_by(3, SnapshotResponse)


def test_a_transfer_to_a_silent_receiver_is_given_up() -> None:
    bench = lagging()
    supply(bench)
    transfer = request(bench).transfer
    bench.crash(3)
    bench.tick_all(150)
    assert bench.seats[1].closed_transfers == [transfer]
    assert bench[1].status().peers[NodeId(3)].state == "probe"


def test_entries_that_arrived_meanwhile_are_not_replaced_by_the_snapshot() -> None:
    """They were acknowledged: an older snapshot must not take them away again."""
    bench = Bench(configuration(1, 2, 3))
    bench.lead(1)
    bench.isolate(3)
    metadata = SnapshotMetadata(Index(2), Term(1), configuration(1, 2, 3))
    bench.step(3, 1, SnapshotChunk(Term(1), 9, metadata, 0, IMAGE, True))
    entries = [entry(2, 1), entry(3, 1)]
    bench.step(3, 1, AppendRequest(Term(1), Index(1), Term(1), Index(1), entries))
    assert bench.sent_by(3, AppendResponse)[-1].index == 3
    keep(bench)
    status = bench[3].status()
    assert not bench.seats[3].installs and (status.commit_index, status.last_index) == (2, 3)


def test_a_snapshot_of_what_is_there_already_is_acknowledged_at_once() -> None:
    bench = Bench(configuration(1, 2, 3))
    bench.lead(1)
    metadata = SnapshotMetadata(Index(1), Term(1), configuration(1, 2, 3))
    bench.step(3, 1, SnapshotChunk(Term(1), 9, metadata, 0, IMAGE, True))
    assert not bench.seats[3].chunk_writes
    assert bench.sent_by(3, AppendResponse)[-1] == AppendResponse(Term(1), True, Index(1))


def test_a_witness_gets_a_snapshot_without_data() -> None:
    bench = Bench(configuration(1, 2, 3, witnesses=(3,)))
    bench.lead(1)
    bench.isolate(3)
    for number in range(5):
        bench.propose(1, b"%d" % number)
        bench.settle()
    bench[1].compact(Index(5))
    bench.heal()
    bench.tick_all(2)
    assert not bench.seats[1].chunk_requests
    write = bench.seats[3].chunk_writes[-1]
    assert write.data == b"" and write.is_last
    keep(bench)
    install(bench)
    assert bench[3].status().commit_index == 6


def test_compaction_of_what_is_not_applied_is_a_defect() -> None:
    bench = lagging()
    with pytest.raises(Fatal, match="applied"):
        bench[1].compact(Index(99))
    with pytest.raises(Fatal, match="described"):
        bench[1].snapshot_metadata(Index(3))


def test_a_checkpoint_describes_the_configuration_of_its_index() -> None:
    bench = Bench(configuration(1, learners=(2,)))
    bench.tick_all(5)
    index = bench[1].propose_configuration(configuration(1, 2))
    bench.perform(1)
    bench.tick_all(3)
    assert bench[1].snapshot_metadata(Index(index - 1)).configuration == configuration(1, learners=(2,))
    assert bench[1].snapshot_metadata(index).configuration == configuration(1, 2)


# ----- bounded memory -----

SMALL = Limits(log_bytes_keep=2_000, log_bytes_max=4_000)


def test_old_entries_leave_memory_once_everybody_has_them() -> None:
    bench = Bench(configuration(1, 2, 3), limits=SMALL)
    bench.lead(1)
    for number in range(200):
        bench.propose(1, b"%d" % number)
        bench.settle()
    for node in (1, 2, 3):
        assert bench[node].status().log_bytes <= 2_200
        assert len(bench.seats[node].applied_payloads) == 200
    assert not bench.seats[1].chunk_requests


def test_a_slow_follower_is_waited_for_only_up_to_the_limit() -> None:
    bench = Bench(configuration(1, 2, 3), limits=SMALL)
    bench.lead(1)
    bench.cuts |= {(1, 3)}
    sizes = []
    for number in range(200):
        bench.propose(1, b"%d" % number)
        bench.settle()
        bench[1].state.peers[NodeId(3)].heard_at = bench[1].state.now
        sizes.append(bench[1].status().log_bytes)
    assert 2_500 < max(sizes) <= 4_000
    bench.heal()
    bench.tick_all(3)
    assert bench.seats[1].chunk_requests


def test_without_a_quorum_proposals_are_refused_before_memory_is_full() -> None:
    bench = Bench(configuration(1, 2, 3), limits=SMALL)
    bench.lead(1)
    bench.isolate(1)
    with pytest.raises(Busy, match="full"):
        for _ in range(100):
            bench.propose(1, b"x" * 20)
    assert bench[1].status().log_bytes <= 4_000
    bench.heal()
    bench.tick_all(3)
    bench.propose(1, b"room again")
    bench.tick_all(2)
    assert bench.seats[2].applied_payloads[-1] == b"room again"


def test_one_large_entry_always_fits_into_an_empty_backlog() -> None:
    bench = Bench(configuration(1, 2, 3), limits=SMALL)
    bench.lead(1)
    bench.propose(1, b"x" * 10_000)
    bench.settle()
    assert bench.seats[3].applied_payloads == [b"x" * 10_000]


def test_an_entry_above_the_limit_is_the_callers_error() -> None:
    bench = Bench(configuration(1), limits=Limits(entry_bytes_max=10))
    bench.tick(1)
    with pytest.raises(ClientError, match="exceeds the limit of 10"):
        bench[1].propose(b"x" * 11)


def test_a_follower_slow_to_apply_refuses_more_but_never_what_commits_it() -> None:
    """Its own memory is bounded as well; uncommitted entries are their leader's to bound."""
    bench = Bench(configuration(1, 2, 3), limits=SMALL)
    bench.lead(1)
    follower = bench[3]
    applied = follower.applied
    follower.applied = lambda index: None  # type: ignore[method-assign]
    for number in range(100):
        bench.propose(1, b"%d" % number)
        bench.settle()
        bench.tick_all(1)
    assert follower.status().log_bytes <= 4_400
    follower.applied = applied  # type: ignore[method-assign]
    follower.applied(follower.status().commit_index)
    assert bench[1].status().commit_index == 101
