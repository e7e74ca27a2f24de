"""Active expiry: keys and fields past their deadline are deleted though nobody asks for them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from makoredis.server.server import Server

KEYS_PER_TICK = 2000
"""Deadlines that one tick works off; more are left for the next, so that a mass expiry doesn't stop the loop."""


class ActiveExpiry:
    """Of the keys in the one group of nodes; `Router.expire_keys` does it for several shards."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.is_on = True
        """DEBUG SET-ACTIVE-EXPIRE."""

    def may_delete(self) -> bool:
        """While nothing can or may be written, a key past its deadline is hidden instead of deleted."""
        return self.server.node.full_disk.refusal is None and not self.server.pause.is_on()

    def next_due_ms(self) -> int | None:
        """When there may be something to be deleted next by this node; None: nothing is scheduled."""
        node = self.server.node
        if not self.is_on:
            return None
        spaces = [node.host.space] if node.shards is None and node.host.is_leader else []
        if node.shards is not None:
            led = [replica.participant for replica in node.shards.replicas.values()]
            spaces += [participant.space for participant in led if participant is not None]
        return min((due for space in spaces if (due := space.next_due()) is not None), default=None)

    def run(self) -> None:
        """Deletes what is due, a bounded number of keys at a time."""
        server = self.server
        if not self.is_on or not self.may_delete():
            return
        if server.router is not None:
            server.router.expire_keys()
        elif server.node.host.is_complete():
            self._run_on_host()

    def _run_on_host(self) -> None:
        server, host = self.server, self.server.node.host
        access = host.access
        access.now_ms, access.origin, access.is_replica = server.now_ms, 0, False
        budget = KEYS_PER_TICK
        for number, database in enumerate(host.space.databases):
            if not database.expires and not database.hash_deadlines.by_name:
                continue
            access.select(number)
            due = database.take_due(server.now_ms, budget)
            for key in due:
                access.expire(key)
            for key in database.take_due_hashes(server.now_ms, budget):
                access.peek(key)  # deletes its fields past their deadline
            budget -= len(due)
        effects = access.effects
        if effects:
            host.executor.commit(access, server.wall_us)
            if server.observes_effects:
                server.after_commit(effects)
                server.blocking.serve()
