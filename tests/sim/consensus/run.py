"""Repeats one simulated run of consensus and prints every step.

python -m tests.sim.consensus.run SEED [FROM_MS [MS [RULE]]]      RULE: 0 Raft, 1 Multi-Paxos
"""

import sys
from typing import Any

from makoredis.base.ids import NodeId
from makoredis.consensus.core import ElectionRule, Ready
from makoredis.consensus.messages import AppendRequest, Message
from tests.sim.consensus.chaos import Chaos
from tests.sim.consensus.replica import Replica


class TracedChaos:
    """A run whose replicas tell what they do."""

    def __init__(self, seed: int, from_ms: float, rule: ElectionRule) -> None:
        self.chaos = Chaos(seed, rule)
        self.from_ms = from_ms
        network = self.chaos.cluster.network
        deliver = network.deliver

        def traced_deliver(sender: NodeId, to: NodeId, message: Message) -> None:
            self.say(f"   {sender}->{to} {_short(message)}")
            deliver(sender, to, message)

        network.deliver = traced_deliver
        for replica in self.chaos.cluster.replicas.values():
            self._trace(replica)

    def _trace(self, replica: Replica) -> None:
        perform = replica._perform_one

        def traced_perform(ready: Ready) -> None:
            parts = {name: getattr(ready, name) for name in ready.__slots__ if name != "messages"}
            text = " ".join(f"{name}={_brief(value)}" for name, value in parts.items() if value)
            if text:
                self.say(f"{replica.node} {text}")
            perform(ready)

        replica._perform_one = traced_perform  # type: ignore[method-assign]
        for name in ("crash", "start", "pause", "resume"):
            self._trace_life(replica, name)

    def _trace_life(self, replica: Replica, name: str) -> None:
        original = getattr(replica, name)

        def traced() -> None:
            self.say(f"{replica.node} {name.upper()}")
            original()

        setattr(replica, name, traced)

    def say(self, text: str) -> None:
        now_ms = self.chaos.cluster.clock.now / 1000
        if now_ms >= self.from_ms:
            print(f"{now_ms:9.2f} {text}")

    def run(self, milliseconds: int) -> None:
        try:
            self.chaos.run(milliseconds)
        finally:
            for replica in self.chaos.cluster.replicas.values():
                print("up  " if replica.is_up else "down", replica.core.status())


def _short(message: Message) -> str:
    if isinstance(message, AppendRequest):
        return (
            f"AppendRequest(term={message.term}, previous={message.previous_index}/{message.previous_term}, "
            f"commit={message.commit}, entries={_brief(message.entries)})"
        )
    return repr(message)[:200]


def _brief(value: Any) -> str:
    if isinstance(value, list) and value and hasattr(value[0], "payload"):
        return "[" + " ".join(f"{entry.index}/{entry.term}{entry.kind.name[0]}" for entry in value) + "]"
    return repr(value)[:300]


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    seed, from_ms, milliseconds, rule = (*arguments, *(0, 0, 2_000, 0)[len(arguments) :])
    TracedChaos(seed, from_ms, ElectionRule(rule)).run(milliseconds)
