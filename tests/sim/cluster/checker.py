"""Histories of appends and reads, and whether one order of all transactions explains them.

Every appended value is unique, so the final list of a key says in which order its appends took place, and a read names
the append that it saw last. From these follow the edges of a graph of transactions (Kingsbury and Alvaro, Elle, 2020):
what was written before what, read from what, and overwritten after having been read. To these come real time and, for
one session, the order of its requests. A cycle means that no order explains what was seen.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

Append = tuple[bytes, bytes]
"""Key and value."""


@dataclass
class Operation:
    """A transaction as its client saw it. `end` is None if the client never heard what became of it."""

    name: str
    session: int
    begin: int
    appends: list[Append] = field(default_factory=list)
    end: int | None = None
    reads: list[tuple[bytes, list[bytes]]] = field(default_factory=list)
    """What was seen, own appends before the read included."""
    lengths: list[tuple[Append, int]] = field(default_factory=list)
    """The length that an append was answered."""


class Inconsistent(AssertionError):
    """What was seen cannot have happened in any order."""


def check(operations: Iterable[Operation], final: dict[bytes, list[bytes]]) -> None:
    """Raises: Inconsistent."""
    operations = list(operations)
    writers = {append: operation for operation in operations for append in operation.appends}
    for key, values in final.items():
        if len(set(values)) < len(values):
            raise Inconsistent(f"{key!r} has an element twice: {values}")
        for value in values:
            if (key, value) not in writers:
                raise Inconsistent(f"{value!r} in {key!r} was appended by nobody")
    present = {(key, value) for key, values in final.items() for value in values}
    happened = [operation for operation in operations if _has_happened(operation, present, final)]
    graph: dict[object, set[object]] = {}
    for key, values in final.items():
        _write_order(graph, [writers[key, value] for value in values])
    for operation in happened:
        _read_edges(graph, operation, writers, final)
    _session_order(graph, happened)
    _real_time(graph, happened)
    _refuse_cycles(graph)


def _has_happened(operation: Operation, present: set[Append], final: dict[bytes, list[bytes]]) -> bool:
    done = [append in present for append in operation.appends]
    if operation.end is None:
        if done and any(done) != all(done):
            raise Inconsistent(f"{operation.name} was done in part")
        return any(done)
    if not all(done):
        raise Inconsistent(f"{operation.name} was acknowledged and is lost")
    for (key, value), length in operation.lengths:
        if final[key][length - 1 : length] != [value]:
            raise Inconsistent(f"{operation.name} was told to be number {length} in {key!r}: {final[key]}")
    return True


def _edge(graph: dict[object, set[object]], before: object, after: object) -> None:
    if before != after:
        graph.setdefault(before, set()).add(after)


def _write_order(graph: dict[object, set[object]], writers: list[Operation]) -> None:
    for before, after in pairwise(writers):
        _edge(graph, id(before), id(after))


def _read_edges(
    graph: dict[object, set[object]],
    operation: Operation,
    writers: dict[Append, Operation],
    final: dict[bytes, list[bytes]],
) -> None:
    for key, seen in operation.reads:
        values = final.get(key, [])
        if values[: len(seen)] != seen:
            raise Inconsistent(f"{operation.name} read {seen} from {key!r}, which is no beginning of {values}")
        if seen:
            _edge(graph, id(writers[key, seen[-1]]), id(operation))
        if len(seen) < len(values):
            _edge(graph, id(operation), id(writers[key, values[len(seen)]]))


def _session_order(graph: dict[object, set[object]], operations: list[Operation]) -> None:
    last: dict[int, Operation] = {}
    for operation in operations:
        if operation.session in last:
            _edge(graph, id(last[operation.session]), id(operation))
        last[operation.session] = operation


def _real_time(graph: dict[object, set[object]], operations: list[Operation]) -> None:
    """Through a chain of moments, so that the edges stay few."""
    ends = sorted({operation.end for operation in operations if operation.end is not None})
    for before, after in pairwise(ends):
        _edge(graph, ("moment", before), ("moment", after))
    for operation in operations:
        if operation.end is not None:
            _edge(graph, id(operation), ("moment", operation.end))
        earlier = bisect_left(ends, operation.begin)
        if earlier:
            _edge(graph, ("moment", ends[earlier - 1]), id(operation))


def _refuse_cycles(graph: dict[object, set[object]]) -> None:
    incoming: dict[object, int] = {}
    for before, targets in graph.items():
        incoming.setdefault(before, 0)
        for target in targets:
            incoming[target] = incoming.get(target, 0) + 1
    free = [vertex for vertex, count in incoming.items() if not count]
    done = 0
    while free:
        done += 1
        for target in graph.get(free.pop(), ()):
            incoming[target] -= 1
            if not incoming[target]:
                free.append(target)
    if done != len(incoming):
        raise Inconsistent(f"no order explains {len(incoming) - done} transactions")
