"""A group of replicas under a simulated network and clock, with the handles a test needs."""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from makoredis.base.errors import Retryable
from makoredis.base.ids import Index, NodeId
from makoredis.consensus.core import CoreConfig, Limits
from makoredis.consensus.messages import Message
from makoredis.consensus.types import Configuration, Role
from tests.sim.consensus.checkers import Observer
from tests.sim.consensus.network import Clock, Network
from tests.sim.consensus.replica import Replica


class Cluster:
    """Everything from one seed. Nodes are numbered from 1: voters, then witnesses, learners, spares."""

    def __init__(
        self,
        seed: int = 1,
        voters: int = 3,
        witnesses: int = 0,
        learners: int = 0,
        spares: int = 0,
        limits: Limits | None = None,
        **options: Any,
    ) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.clock = Clock()
        self.network = Network(self.clock, self.rng)
        self.network.deliver = self._deliver
        self.observer = Observer()
        self.nodes = [NodeId(number) for number in range(1, voters + witnesses + learners + spares + 1)]
        voting = tuple(self.nodes[: voters + witnesses])
        self.witnesses = tuple(self.nodes[voters : voters + witnesses])
        self.configuration = Configuration(
            voters=voting,
            learners=tuple(self.nodes[len(voting) : len(voting) + learners]),
            witnesses=self.witnesses,
        )
        self.contexts = 0
        self.payloads = 0
        self.replicas: dict[NodeId, Replica] = {}
        for node in self.nodes:
            initial = self.configuration if node in self.configuration.members() else Configuration()
            config = CoreConfig(node=node, configuration=initial, limits=limits or Limits(), **options)
            is_witness = node in self.witnesses
            self.replicas[node] = Replica(config, self.clock, self.network, self.rng, self.observer, is_witness)

    def _deliver(self, sender: NodeId, to: NodeId, message: Message) -> None:
        self.replicas[to].receive(sender, message)

    # ----- time -----

    def run(self, milliseconds: int) -> None:
        end = self.clock.now + milliseconds * 1000
        while self.clock.next_at <= end:
            self.clock.run_next()
        self.clock.now = end

    def run_until(self, condition: Callable[[], bool], milliseconds_max: int = 5_000) -> None:
        """Runs until the condition holds; fails if it never does."""
        end = self.clock.now + milliseconds_max * 1000
        while not condition():
            assert self.clock.next_at <= end, f"not reached within {milliseconds_max} ms (seed {self.seed})"
            self.clock.run_next()

    # ----- looking -----

    def core(self, node: int) -> Any:
        return self.replicas[NodeId(node)].core

    def up(self) -> list[Replica]:
        return [replica for replica in self.replicas.values() if replica.is_up]

    def leaders(self) -> list[Replica]:
        return [replica for replica in self.up() if replica.core.state.role is Role.LEADER]

    def leader(self) -> Replica | None:
        """The leader of the highest term."""
        return max(self.leaders(), key=lambda replica: replica.core.state.term, default=None)

    def wait_leader(self, among: Iterable[int] | None = None, milliseconds_max: int = 5_000) -> Replica:
        """Runs until somebody (of those) leads with its first entry committed."""

        def leads() -> bool:
            return self._settled_leader(among) is not None

        self.run_until(leads, milliseconds_max)
        found = self._settled_leader(among)
        assert found is not None
        return found

    def _settled_leader(self, among: Iterable[int] | None) -> Replica | None:
        chosen = None if among is None else set(among)
        for replica in self.leaders():
            if (chosen is None or replica.node in chosen) and replica.core.state.has_committed_in_term:
                return replica
        return None

    def applied_payloads(self, node: int) -> list[bytes]:
        return [payload for _, _, payload in self.replicas[NodeId(node)].image]

    # ----- doing -----

    def propose(self, replica: Replica | None = None, payload: bytes | None = None) -> Index | None:
        """A client's write on a node that leads (or thinks so). Returns: its index; None if refused."""
        replica = replica or self.leader()
        if replica is None or not replica.is_up or replica.is_paused:
            return None
        self.payloads += 1
        payload = payload if payload is not None else b"w%d" % self.payloads
        try:
            index = replica.core.propose(payload)
        except Retryable:
            return None
        self.observer.proposed_at(replica.node, index, replica.core.state.term, payload)
        replica.perform()
        return index

    def agree(self, payload: bytes | None = None, expected: Iterable[int] = (), milliseconds_max: int = 5_000) -> Index:
        """Writes until one write is applied by all the expected nodes (default: all members that are up)."""
        end = self.clock.now + milliseconds_max * 1000
        while self.clock.now < end:
            index = self.propose(payload=payload)
            until = self.clock.now + 500_000
            while index is not None and self.clock.now < until:
                if self._has_applied(index, expected) and index in self.observer.acknowledged:
                    return index
                self.clock.run_next()
            if index is None:
                self.run(10)
        raise AssertionError(f"no agreement within {milliseconds_max} ms (seed {self.seed})")

    def _has_applied(self, index: Index, expected: Iterable[int]) -> bool:
        nodes = list(expected) or [
            replica.node for replica in self.up() if replica.node in self.configuration.members()
        ]
        return all(self.replicas[NodeId(node)].applied >= index for node in nodes)

    def read(self, replica: Replica) -> None:
        """A client's linearizable read."""
        if not replica.is_up or replica.is_paused:
            return
        self.contexts += 1
        self.observer.read_begins(self.contexts)
        try:
            replica.read(self.contexts)
        except Retryable:
            self.observer.reads.pop(self.contexts)

    def reconfigure(self, replica: Replica, target: Configuration) -> Index:
        """Starts a membership change on a leader."""
        index: Index = replica.core.propose_configuration(target)
        replica.perform()
        self.configuration = target
        return index

    def crash(self, node: int) -> None:
        if self.replicas[NodeId(node)].is_up:
            self.replicas[NodeId(node)].crash()

    def restart(self, node: int) -> None:
        replica = self.replicas[NodeId(node)]
        if replica.is_up:
            replica.crash()
        replica.start()

    def isolate(self, *nodes: int) -> None:
        for node in nodes:
            self.network.isolate(NodeId(node), self.nodes)

    def heal(self) -> None:
        self.network.heal()
