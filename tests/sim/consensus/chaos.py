"""Random faults and random clients against a cluster, all from one seed; then peace, in which all must end well."""

from random import Random

from makoredis.base.errors import ClientError, Fatal, Retryable
from makoredis.base.ids import NodeId
from makoredis.consensus.core import ElectionRule, Limits
from makoredis.consensus.types import Configuration
from tests.sim.consensus.checkers import Violation
from tests.sim.consensus.cluster import Cluster
from tests.sim.consensus.replica import Replica

SMALL_LIMITS = Limits(
    append_bytes_max=200,
    append_entries_max=8,
    inflight_messages_max=4,
    inflight_bytes_max=800,
    log_bytes_keep=4_000,
    log_bytes_max=8_000,
    committed_bytes_max=300,
    snapshot_chunk_bytes=64,
)


class Chaos:
    """One run. What a seed decides: the group, its options, the faults, the clients."""

    def __init__(self, seed: int, election_rule: ElectionRule = ElectionRule.RAFT) -> None:
        self.seed = seed
        rng = self.rng = Random(f"chaos {seed}")
        witnesses = rng.choice((0, 0, 1))
        self.cluster = Cluster(
            seed=seed,
            voters=rng.choice((1, 2, 3, 3, 3, 5)) + witnesses,
            witnesses=witnesses,
            learners=rng.choice((0, 0, 1)),
            spares=rng.choice((0, 1, 2)),
            limits=rng.choice((None, SMALL_LIMITS)),
            preferred=rng.choice((None, NodeId(1))),
            quiesce_ticks=rng.choice((0, 0, 30)),
            lease_reads=rng.random() < 0.7,
            election_rule=election_rule,
        )
        checkpoint_every = rng.choice((0, 10, 30))
        for replica in self.cluster.replicas.values():
            replica.checkpoint_every = checkpoint_every
            replica.tick_us = int(replica.TICK_US * rng.uniform(0.96, 1.04))
            replica.turn_us = rng.choice(((0, 0), (0, 3_000)))
            replica.disk_us = rng.choice(((100, 1_000), (100, 20_000)))
        self.actions = self._pick_actions()

    def _pick_actions(self) -> list[tuple[object, float]]:
        """Every run has clients, and its own mixture of faults."""
        faults = [
            self._crash,
            self._restart,
            self._partition,
            self._cut_one_way,
            self._heal,
            self._pause,
            self._transfer,
            self._reconfigure,
            self._campaign,
            self._bad_network,
            self._good_network,
            self._unreachable,
        ]
        weights = [self.rng.choice((0, 1, 1, 3)) for _ in faults]
        return [(self._write, 25), (self._read, 10), *zip(faults, weights)]

    def run(self, milliseconds: int) -> None:
        """Faults, then peace.

        Raises: AssertionError with the seed.
        """
        try:
            self._run_faults(milliseconds)
            self._run_peace()
        except (AssertionError, Fatal) as error:
            raise Violation(f"seed {self.seed}: {error}") from error

    def _run_faults(self, milliseconds: int) -> None:
        end = self.cluster.clock.now + milliseconds * 1000
        actions = [action for action, _ in self.actions]
        weights = [weight for _, weight in self.actions]
        while self.cluster.clock.now < end:
            self.cluster.run(self.rng.choice((1, 2, 5, 10, 30)))
            action = self.rng.choices(actions, weights)[0]
            assert callable(action)
            action()

    def _run_peace(self) -> None:
        """Everybody is up and heard: a leader must emerge, a write must reach everyone, and all must be equal."""
        cluster = self.cluster
        self._good_network()
        cluster.heal()
        for replica in cluster.replicas.values():
            if replica.is_paused:
                replica.resume()
            if not replica.is_up:
                replica.start()
            replica.core.wake()
            replica.perform()
        cluster.run_until(self._is_settled, 20_000)
        leader = cluster.wait_leader()
        cluster.configuration = leader.core.status().configuration
        cluster.agree(milliseconds_max=20_000)
        cluster.run_until(self._all_equal, 20_000)
        cluster.observer.check_converged(cluster.configuration)

    def _is_settled(self) -> bool:
        """One leader, whose configuration is committed and not joint."""
        leader = self.cluster.leader()
        if leader is None or not leader.core.state.has_committed_in_term:
            return False
        status = leader.core.status()
        return not status.configuration.is_joint and status.configuration_index <= status.commit_index

    def _all_equal(self) -> bool:
        members = [self.cluster.replicas[node] for node in self.cluster.configuration.members()]
        return len({replica.applied for replica in members}) == 1

    # ----- clients -----

    def _someone(self) -> Replica:
        return self.rng.choice(list(self.cluster.replicas.values()))

    def _write(self) -> None:
        leaders = self.cluster.leaders()
        if leaders:
            replica = self.rng.choice(leaders)
            for _ in range(self.rng.choice((1, 1, 3, 10))):
                self.cluster.propose(replica)

    def _read(self) -> None:
        replica = self._someone()
        if not replica.is_witness:
            self.cluster.read(replica)

    # ----- faults -----

    def _crash(self) -> None:
        self.cluster.crash(self._someone().node)

    def _restart(self) -> None:
        for replica in self.cluster.replicas.values():
            if not replica.is_up:
                replica.start()
                return

    def _partition(self) -> None:
        nodes = list(self.cluster.nodes)
        self.rng.shuffle(nodes)
        middle = self.rng.randint(0, len(nodes))
        self.cluster.heal()
        self.cluster.network.partition(nodes[:middle], nodes[middle:])

    def _cut_one_way(self) -> None:
        self.cluster.network.cut(self._someone().node, self._someone().node)

    def _heal(self) -> None:
        self.cluster.heal()

    def _pause(self) -> None:
        replica = self._someone()
        if replica.is_up and not replica.is_paused:
            replica.pause()
            incarnation = replica.incarnation

            def resume() -> None:
                if replica.incarnation == incarnation and replica.is_paused:
                    replica.resume()

            self.cluster.clock.after(self.rng.randint(1_000, 400_000), resume)

    def _transfer(self) -> None:
        leader = self.cluster.leader()
        if leader is not None and not leader.is_paused:
            try:
                leader.core.transfer_leadership(self._someone().node)
            except (Retryable, ClientError):
                return
            leader.perform()

    def _reconfigure(self) -> None:
        leader = self.cluster.leader()
        if leader is None or leader.is_paused:
            return
        nodes = [node for node in self.cluster.nodes if node not in self.cluster.witnesses]
        self.rng.shuffle(nodes)
        voters = self.rng.randint(1, len(nodes))
        learners = self.rng.randint(voters, len(nodes))
        witnesses = self.cluster.witnesses if self.rng.random() < 0.7 else ()
        target = Configuration(
            voters=(*nodes[:voters], *witnesses), learners=tuple(nodes[voters:learners]), witnesses=witnesses
        )
        try:
            leader.core.propose_configuration(target)
        except (Retryable, ClientError):
            return
        leader.perform()

    def _campaign(self) -> None:
        replica = self._someone()
        if replica.is_up and not replica.is_paused:
            replica.core.campaign()
            replica.perform()

    def _bad_network(self) -> None:
        network = self.cluster.network
        network.loss = self.rng.choice((0.0, 0.05, 0.2))
        network.duplication = self.rng.choice((0.0, 0.1, 0.3))
        network.delay_us = self.rng.choice(((200, 2_000), (200, 30_000), (5_000, 60_000)))

    def _good_network(self) -> None:
        network = self.cluster.network
        network.loss = network.duplication = 0.0
        network.delay_us = (200, 2_000)

    def _unreachable(self) -> None:
        replica = self._someone()
        if replica.is_up and not replica.is_paused:
            replica.core.unreachable(self._someone().node)
            replica.perform()
