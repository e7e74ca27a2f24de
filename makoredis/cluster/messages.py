"""What nodes say to each other, beside the consensus messages.

A frame is one RESP array of bulk strings, each of them one encoded message. The first frame of a connection is a
`Hello` alone. Tags and field order are a wire format: append, never reorder, never reuse a tag.
"""

from makoredis.base.record import Wire, field, wire_decoder, wire_encode
from makoredis.txn.knowledge import Watermark
from makoredis.txn.messages import Part

PROTOCOL_VERSION = 2


class Hello(Wire, tag=1):
    """Who is calling. A connection whose hello does not fit is closed."""

    version: int
    cluster: str
    node: int
    incarnation: int
    """Random per start of a process: requests of an earlier one are somebody else's."""
    clock_us: int
    """The caller's wall clock."""
    host: str = ""
    peer_port: int = 0
    """Where the caller listens for its peers, so that one that is not in any book can be answered; 0: nowhere."""
    client_host: str = ""
    client_port: int = 0
    """Where it listens for clients."""


class Consensus(Wire, tag=2):
    """One message between two replicas of a shard."""

    shard: int
    encoded: bytes


class Forward(Wire, tag=3):
    """A request of a client of another node.

    `(incarnation, session, sequence)` is its id: executed at most once, and answered as often as it is asked.
    """

    incarnation: int
    session: int
    sequence: int
    acknowledged: int
    """The client has the answers up to this sequence; they need not be kept."""
    database: int
    protocol: int
    kind: int
    """A `ForwardKind`."""
    commands: list[list[bytes]]
    guard_term: int = 0
    """The leadership whose watch table guards this transaction; 0 if nothing is watched."""
    term: int = 0
    """The leadership that is asked. Another one refuses: it might be asked the same by a younger message."""
    user: bytes = b""
    """What the client's user may do, if not everything: its name and rules, as in a file of users. Each node has users
    of its own, and what a script calls is known to the leader alone."""
    waited_ms: int = 0
    """How long the client has been blocked by this request already, on leaders before."""


class Answer(Wire, tag=4):
    """The final reply to a forwarded request."""

    incarnation: int
    session: int
    sequence: int
    reply: bytes
    index: int
    """Up to here the answering leader's log was chosen: what a later read must have seen."""


class Refused(Wire, tag=5):
    """This node does not lead (any more): ask again, there or elsewhere."""

    incarnation: int
    session: int
    sequence: int
    hint: int
    """The leader, 0 = unknown."""


class SessionClosed(Wire, tag=6):
    """A client is gone: what it waits for is forgotten."""

    incarnation: int
    session: int


class Unblock(Wire, tag=7):
    """CLIENT UNBLOCK for a client whose request waits on the leader."""

    incarnation: int
    session: int
    with_error: bool


class WhoLeads(Wire, tag=8):
    """Asked by a node that is no member (yet, or any more), and by one that cannot reach the leader it knows."""


class Leads(Wire, tag=9):
    """The answer, if the node that was asked knows one."""

    node: int
    term: int


class Listeners(Wire, tag=11):
    """How many of the sender's clients listen to what (`server.interests`)."""

    is_all: bool
    """Whether what was said before is void."""
    counts: list[tuple[int, bytes, int]]
    """Kind, name of the channel or pattern, clients."""


class QuiescedGroup(Wire):
    """A group that is quiesced at the sender (`quiescence`)."""

    shard: int
    leader: int
    term: int
    last_index: int
    age_ms: int
    """From the leader: how long ago a quorum was known to agree with it."""


class Clock(Wire, tag=10):
    """Said now and then on a connection that lasts: what the caller's wall clock is now."""

    clock_us: int
    quiesced: list[QuiescedGroup] = field(default_factory=list)
    """All of the sender's."""


class ToShard(Wire, tag=20):
    """For the leader of a shard: an encoded `txn.messages.ShardMessage`."""

    shard: int
    encoded: bytes


class ToCoordinator(Wire, tag=21):
    """For the coordinator on this node: an encoded answer of a participant."""

    encoded: bytes


class Announced(Wire, tag=22):
    """What the leader of a shard makes known of its log."""

    watermark: Watermark


class Submit(Wire, tag=23):
    """A transaction of one shard, for a client of another node. Its id is as in `Forward`."""

    shard: int
    term: int
    """The leadership that is asked; another one turns it away."""
    incarnation: int
    session: int
    sequence: int
    part: Part


class Submitted(Wire, tag=24):
    """The final results of a `Submit`."""

    incarnation: int
    session: int
    sequence: int
    results: bytes
    ts: int


class TurnedAway(Wire, tag=25):
    """A `Submit` was not executed here, or it is not known to be: ask again, there or elsewhere."""

    incarnation: int
    session: int
    sequence: int


class Followed(Wire, tag=40):
    """From a shard's leader: its group has reached the goal of this configuration (`cluster.membership`)."""

    shard: int
    number: int


class Advance(Wire, tag=41):
    """For a shard's leader: somebody waits for its watermark to get to this timestamp."""

    shard: int
    ts: int


class AskReplicas(Wire, tag=42):
    """For a shard's leader: how many replicas beside it have its log up to here (`cluster.replicated`)?"""

    shard: int
    number: int
    """Of the question."""
    term: int
    """The leadership that has said up to where; 0: none has yet."""
    index: int


class ReplicaCount(Wire, tag=43):
    """The answer."""

    shard: int
    number: int
    term: int
    index: int
    count: int


class CloseSessions(Wire, tag=44):
    """For a shard's leader: sessions of the sender, or of an earlier process of it, are gone (`cluster.sessions`)."""

    shard: int
    term: int
    """The leadership that is told."""
    incarnation: int
    sessions: list[tuple[int, int]]
    """Intervals of numbers that have not been confirmed."""
    around: list[tuple[int, int]]
    """For each of them, all that is gone next to it."""


class SessionsClosed(Wire, tag=45):
    """The answer: nothing is kept of these."""

    shard: int
    incarnation: int
    sessions: list[tuple[int, int]]


ShardPeerMessage = (
    ToShard
    | ToCoordinator
    | Announced
    | Submit
    | Submitted
    | TurnedAway
    | Advance
    | AskReplicas
    | ReplicaCount
    | CloseSessions
    | SessionsClosed
)
PeerMessage = (
    Hello
    | Consensus
    | Forward
    | Answer
    | Refused
    | SessionClosed
    | Unblock
    | WhoLeads
    | Leads
    | Listeners
    | Clock
    | ToShard
    | ToCoordinator
    | Announced
    | Submit
    | Submitted
    | TurnedAway
    | Followed
    | Advance
    | AskReplicas
    | ReplicaCount
    | CloseSessions
    | SessionsClosed
)

encode_peer_message = wire_encode
decode_peer_message = wire_decoder(PeerMessage)
"""Raises msgspec.ValidationError or msgspec.DecodeError on bytes that are no message."""
