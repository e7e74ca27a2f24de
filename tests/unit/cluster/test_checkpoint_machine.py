"""Random transactions, checkpoints, disk writes and crashes, in any order; each crash is checked against the model."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from makoredis.cluster.pace import Pace
from tests.unit.cluster.world import NOW_MS, World

KEYS = ("a", "b", "c", "d")
keys = st.sampled_from(KEYS)
values = st.sampled_from(("1", "2", "x", "y" * 50, "z" * 130))
members = st.sampled_from(("1", "2", "m", "n"))

_TEMPLATES = (
    "SET {key} {value}",
    f"SET {{key}} {{value}} PXAT {NOW_MS + 9_000_000}",
    "APPEND {key} {value}",
    "SETRANGE {key} 3 {value}",
    "INCR {key}",
    f"PEXPIREAT {{key}} {NOW_MS + 5_000_000}",
    "PERSIST {key}",
    "DEL {key}",
    "RPUSH {key} {value} {member}",
    "LPUSH {key} {member}",
    "LPOP {key}",
    "RPOP {key} 2",
    "LSET {key} 0 {value}",
    "LINSERT {key} BEFORE {member} {value}",
    "LREM {key} 0 {member}",
    "LTRIM {key} 1 -1",
    "HSET {key} {member} {value}",
    "HDEL {key} {member}",
    "SADD {key} {member} {value}",
    "SREM {key} {member}",
    "ZADD {key} 1 {member} 2 {value}",
    "ZINCRBY {key} 1.5 {member}",
    "ZREMRANGEBYRANK {key} 1 1",
    "ZREM {key} {member}",
    "XADD {key} * f {value}",
    "XTRIM {key} MAXLEN 1",
    "RENAME {key} {other}",
    "COPY {key} {other} REPLACE",
    "MOVE {key} 1",
    "SUNIONSTORE {key} {key} {other}",
    "SWAPDB 0 1",
    "SWAPDB 1 2",
    "FLUSHDB",
    "FLUSHALL",
)


@st.composite
def requests(draw: st.DrawFn) -> str:
    template = draw(st.sampled_from(_TEMPLATES))
    return template.format(key=draw(keys), other=draw(keys), value=draw(values), member=draw(members))


transactions = st.lists(requests(), min_size=1, max_size=4)


class CheckpointMachine(RuleBasedStateMachine):
    """Everything that can happen to a shard with one replica."""

    @initialize()
    def begin_life(self) -> None:
        self.world = World()

    @rule(requests=transactions, database=st.integers(0, 2))
    def transaction(self, requests: list[str], database: int) -> None:
        self.world.run(*requests, database=database)
        self.world.end_turn()

    @rule(turn=st.lists(transactions, min_size=2, max_size=3), database=st.integers(0, 1))
    def several_in_one_entry(self, turn: list[list[str]], database: int) -> None:
        for requests in turn:
            self.world.run(*requests, database=database)
        self.world.end_turn()

    @rule(count=st.integers(1, 3))
    def disk_writes_some(self, count: int) -> None:
        self.world.write_disk(count)

    @rule()
    def disk_writes_all(self) -> None:
        self.world.write_disk()

    @rule()
    def checkpoint_begins(self) -> None:
        self.world.begin()

    @rule(steps=st.integers(1, 6))
    def checkpoint_goes_on(self, steps: int) -> None:
        self.world.capture(steps)

    @rule()
    def checkpoint_ends(self) -> None:
        world = self.world
        for _ in range(100):
            if not world.checkpointer.is_running:
                return
            world.capture()
            world.write_disk()
        raise AssertionError("the checkpoint does not end")

    @rule()
    def superfluous_is_deleted(self) -> None:
        self.world.checkpointer.cleaner.clean_up(Pace(float("inf")).start())

    @rule()
    def crash(self) -> None:
        self.world.crash()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.crash()
            self.world.write_disk()
            self.world.crash()


TestCheckpoints = CheckpointMachine.TestCase
TestCheckpoints.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
