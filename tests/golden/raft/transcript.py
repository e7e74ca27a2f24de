"""Runs a story of commands against cores on a bench and tells what happened.

    # what the story shows
    > verb arguments
    what happened

Verbs: `group 1 2 3 [learners=4] [witnesses=3] [option=number …]`, `tick NODE [COUNT]`, `campaign NODE`,
`propose NODE TEXT`, `read NODE CONTEXT`, `transfer NODE TO`, `change NODE VOTERS… [learners=…] [witnesses=…]`,
`deliver [COUNT]`, `settle`, `pass TICKS` (for all, messages arrive in between), `drop FROM TO`, `cut FROM TO`,
`isolate NODE`, `heal`, `hold NODE` and `sync NODE` (its disk), `crash NODE`, `restart NODE`, `forget NODE` (its promise
to a leader ran out), `compact NODE INDEX`, `chunk NODE` (answers its requests for a snapshot), `keep NODE`,
`install NODE`, `status`.
"""

from collections.abc import Iterable
from typing import Any

from makoredis.base.errors import ClientError, Fatal, Retryable
from makoredis.base.ids import Index, NodeId
from makoredis.consensus.core import Limits, Ready
from makoredis.consensus.messages import AppendResponse, Message
from makoredis.consensus.types import Configuration, Entry, EntryKind, Role, SnapshotMetadata
from tests.unit.consensus.bench import Bench, configuration

IMAGE = b"abcdefghij"


class TellingBench(Bench):
    """A bench that notes what happens."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.told: list[str] = []
        super().__init__(*arguments, **options)

    def perform(self, node: int) -> None:
        seat = self.seats[node]
        if not seat.is_up:
            return
        take = seat.core.take_ready

        def taking() -> Ready:
            ready = take()
            self._tell(node, ready)
            return ready

        seat.core.take_ready = taking  # type: ignore[method-assign]
        try:
            super().perform(node)
        finally:
            del seat.core.take_ready  # type: ignore[method-assign]

    def deliver_one(self) -> None:
        sender, to, message = self.wire[0]
        is_lost = not self.seats[to].is_up or (sender, to) in self.cuts
        self.told.append(f"{sender}{'-x->' if is_lost else '->'}{to} {show(message)}")
        super().deliver_one()

    def _tell(self, node: int, ready: Ready) -> None:
        facts = []
        if ready.role_change is not None:
            change = ready.role_change
            leader = f", leader {change.leader}" if change.leader and change.role is not Role.LEADER else ""
            facts.append(f"{change.role.name.lower()} of term {change.term}{leader}")
        writes = []
        if ready.hard_state is not None:
            writes.append(f"term {ready.hard_state.term} vote {ready.hard_state.vote or '-'}")
        if ready.entries:
            writes.append(show_entries(ready.entries))
        if writes:
            facts.append("writes " + ", ".join(writes))
        if ready.committed:
            facts.append("applies " + show_entries(ready.committed))
        facts += [f"reads {state.context} at {state.index}" for state in ready.read_states]
        facts += [f"fails read {context}" for context in ready.failed_reads]
        facts += [
            f"wants bytes {each.offset}+{each.bytes_max} of a snapshot for {each.to}" for each in ready.chunk_requests
        ]
        facts += [f"keeps aside bytes {each.offset}+{len(each.data)}" for each in ready.chunk_writes]
        facts += ["releases a snapshot" for _ in ready.closed_transfers]
        if ready.install is not None:
            facts.append(f"installs a snapshot at {ready.install.index}")
        self.told += [f"    {node} {fact}" for fact in facts]


class Story:
    """Executes the verbs of one transcript."""

    def __init__(self) -> None:
        self.bench = TellingBench(configuration(1))

    def run(self, line: str) -> list[str]:
        """Executes one command. Returns: what happened."""
        verb, *arguments = line.split()
        self.bench.told = []
        try:
            getattr(self, f"do_{verb}")(*arguments)
        except (Retryable, ClientError, Fatal) as error:
            self.bench.told.append(f"    {type(error).__name__}: {error}")
        return self.bench.told

    def do_group(self, *arguments: str) -> None:
        voters, sets, options = _parse(arguments)
        options = {name: NodeId(value) if name == "preferred" else value for name, value in options.items()}
        self.bench = TellingBench(configuration(*voters, **sets), limits=Limits(snapshot_chunk_bytes=6), **options)

    def do_tick(self, node: str, count: str = "1") -> None:
        for each in self.bench.seats if node == "all" else [int(node)]:
            if self.bench.seats[each].is_up:
                self.bench.tick(each, int(count))

    def do_campaign(self, node: str) -> None:
        self.bench[int(node)].campaign()
        self.bench.perform(int(node))

    def do_propose(self, node: str, text: str) -> None:
        self.bench.propose(int(node), text.encode())

    def do_read(self, node: str, context: str) -> None:
        self.bench[int(node)].read_index(int(context))
        self.bench.perform(int(node))

    def do_transfer(self, node: str, to: str) -> None:
        self.bench[int(node)].transfer_leadership(NodeId(int(to)))
        self.bench.perform(int(node))

    def do_change(self, node: str, *arguments: str) -> None:
        voters, sets, _ = _parse(arguments)
        self.bench[int(node)].propose_configuration(configuration(*voters, **sets))
        self.bench.perform(int(node))

    def do_deliver(self, count: str = "1") -> None:
        for _ in range(int(count)):
            self.bench.deliver_one()

    def do_settle(self) -> None:
        self.bench.settle()

    def do_pass(self, ticks: str) -> None:
        self.bench.tick_all(int(ticks))

    def do_drop(self, sender: str, to: str) -> None:
        self.bench.wire = [post for post in self.bench.wire if post[:2] != (int(sender), int(to))]

    def do_cut(self, sender: str, to: str) -> None:
        self.bench.cuts.add((int(sender), int(to)))

    def do_isolate(self, *nodes: str) -> None:
        self.bench.isolate(*map(int, nodes))

    def do_heal(self) -> None:
        self.bench.heal()

    def do_hold(self, node: str) -> None:
        self.bench.seats[int(node)].is_disk_held = True

    def do_sync(self, node: str) -> None:
        self.bench.seats[int(node)].is_disk_held = False
        self.bench.sync(int(node))

    def do_crash(self, node: str) -> None:
        self.bench.crash(int(node))

    def do_restart(self, node: str) -> None:
        self.bench.seats[int(node)].is_disk_held = False
        self.bench.restart(int(node))
        self.bench.perform(int(node))

    def do_forget(self, *nodes: str) -> None:
        for node in nodes:
            self.bench[int(node)].state.heard_at = -1_000_000

    def do_compact(self, node: str, index: str) -> None:
        self.bench[int(node)].compact(Index(int(index)))

    def do_chunk(self, node: str) -> None:
        core, seat = self.bench[int(node)], self.bench.seats[int(node)]
        asked = seat.chunk_requests.pop(0)
        metadata: SnapshotMetadata = asked.metadata or core.snapshot_metadata(core.status().applied_index)
        end = asked.offset + asked.bytes_max
        core.supply_chunk(asked.transfer, metadata, asked.offset, IMAGE[asked.offset : end], end >= len(IMAGE))
        self.bench.perform(int(node))

    def do_keep(self, node: str) -> None:
        write = self.bench.seats[int(node)].chunk_writes.pop(0)
        self.bench[int(node)].chunk_stored(write.receipt, write.offset + len(write.data))
        self.bench.perform(int(node))

    def do_install(self, node: str) -> None:
        self.bench[int(node)].snapshot_installed(self.bench.seats[int(node)].installs.pop(0))
        self.bench.perform(int(node))

    def do_status(self) -> None:
        for node, seat in self.bench.seats.items():
            status = seat.core.status()
            up = "" if seat.is_up else " (down)"
            self.bench.told.append(
                f"    {node} {status.role.name.lower()} of term {status.term}, log {status.first_index}…"
                f"{status.last_index}, committed {status.commit_index}, {show_configuration(status.configuration)}{up}"
            )


def _parse(arguments: Iterable[str]) -> tuple[list[int], dict[str, list[int]], dict[str, int]]:
    """Node numbers; sets of nodes by name; options."""
    voters: list[int] = []
    sets: dict[str, list[int]] = {}
    options: dict[str, int] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals:
            voters.append(int(name))
        elif name in ("learners", "witnesses"):
            sets[name] = [int(each) for each in value.split(",")]
        else:
            options[name] = int(value)
    return voters, sets, options


def show(message: Message) -> str:
    """A message in one line."""
    parts = []
    is_accepted = isinstance(message, AppendResponse) and message.accepted
    for field in message.__struct_fields__:  # type: ignore[attr-defined]
        if is_accepted and field.startswith("hint"):
            continue
        value = getattr(message, field)
        if field == "entries":
            parts.append(show_entries(value))
        elif field == "metadata":
            parts.append(f"at={value.index}/{value.term}")
        else:
            parts.append(f"{field}={value}")
    return f"{type(message).__name__} {' '.join(parts)}".rstrip()


def show_entries(entries: Iterable[Entry]) -> str:
    """index/term and what it is."""
    return "[" + ", ".join(f"{each.index}/{each.term} {_content(each)}" for each in entries) + "]"


def _content(entry: Entry) -> str:
    if entry.kind is EntryKind.NORMAL:
        return repr(entry.payload.decode())
    return entry.kind.name.lower()


def show_configuration(shown: Configuration) -> str:
    """The sets that are not empty."""
    sets = {
        "voters": shown.voters,
        "outgoing": shown.outgoing,
        "learners": shown.learners,
        "witnesses": shown.witnesses,
    }
    return " ".join(f"{name} {','.join(map(str, nodes))}" for name, nodes in sets.items() if nodes) or "no members"
