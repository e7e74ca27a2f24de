"""Where keys are evicted from: what this node may delete without asking anybody (`eviction` says when and how much)."""

from typing import TYPE_CHECKING, Protocol

from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import Delete
from makoredis.data.eviction import Chooser, Policy, footprint
from makoredis.data.keyspace import Keyspace
from makoredis.txn.gate import Gate
from makoredis.txn.participant import Participant

if TYPE_CHECKING:
    from makoredis.server.server import Server

LOCKED_MAX = 8
"""So often in a row a key may be chosen that is locked; then what is left has to wait."""


class Victims(Protocol):
    """The keys of one keyspace that is led here."""

    chooser: Chooser
    access: Access

    def may_go(self, id: int, key: bytes) -> bool:
        """Whether a key of a database may be deleted now."""
        ...

    def commit(self) -> Gate | None:
        """Makes one transaction of what was deleted. Returns the gate that opens when it is final; None: it is."""
        ...


class HostVictims:
    """Where there is one shard."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        host = server.node.host
        self.access = host.access
        self.chooser = Chooser(host.space, host.access.rng)

    def may_go(self, id: int, key: bytes) -> bool:
        return True

    def commit(self) -> Gate | None:
        server, host = self.server, self.server.node.host
        effects = self.access.effects
        gate = host.executor.commit(self.access, server.wall_us)
        if not host.executor.is_durable and not host.executor.is_all_dirty:
            host.executor.forget_dirty()
        if gate is None:
            server.announce()  # ahead of the replies to what comes now, as in Redis
        if server.observes_effects:
            server.after_commit(effects)
            server.blocking.serve()
        return gate


class ShardVictims:
    """Where there are several, those of one that is led here. What a transaction has locked may not go."""

    def __init__(self, participant: Participant) -> None:
        self.participant = participant
        self.access = participant.in_place.access
        self.chooser = Chooser(participant.space, participant.rng)
        self._names: list[tuple[int, bytes]] = []

    def may_go(self, id: int, key: bytes) -> bool:
        name = (id, key)
        if not self.participant.in_place.is_free([name], is_exclusive=True):
            return False
        self._names.append(name)
        return True

    def commit(self) -> Gate | None:
        names, self._names = self._names, []
        return self.participant.in_place.commit(names)


class Deletion:
    """Deletes keys of one keyspace, in the order that a policy says.

    Attributes:
        freed, count: bytes and keys.
        has_more: whether anything is left that may go.
    """

    def __init__(self, victims: Victims, policy: Policy, samples: int, now_ms: int) -> None:
        self.victims = victims
        self.policy = policy
        self.samples = samples
        self.now_ms = now_ms
        self.freed = self.count = 0
        self.has_more = True
        access = victims.access
        access.now_ms, access.origin, access.is_replica = now_ms, 0, False
        self._numbers = access.space.numbers()

    def delete_one(self) -> bool:
        """Deletes the next key. False: there is none that may go now."""
        victims, access = self.victims, self.victims.access
        for _ in range(LOCKED_MAX):
            chosen = victims.chooser.choose(self.policy, self.samples, self.now_ms)
            if chosen is None:
                self.has_more = False
                return False
            id, key = chosen
            if victims.may_go(id, key):
                database = access.space.by_id[id]
                value = database.get(key)
                assert value is not None
                self.freed += footprint(key, value)
                access.select(self._numbers[id])
                access.apply(Delete(id, key))
                access.notify(events.EVICTED, b"evicted", key)
                database.forget_use(key)
                self.count += 1
                return True
        return False


def evictable_count(space: Keyspace, policy: Policy) -> int:
    """How many keys a policy lets go."""
    return sum(len(each.expires) if policy.only_volatile else each.size for each in space.by_id)
