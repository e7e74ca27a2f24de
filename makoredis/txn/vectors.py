"""Dependency vectors: what must be durable elsewhere before a transaction may be shown (Mako §5; design section 9).

A vector maps `(shard, epoch)` to a timestamp: everything that this leadership of this shard did up to then. It is
keyed by both, because what was promised in an older epoch is not covered by a watermark of a newer one.
"""

from collections.abc import Iterable

Vector = dict[tuple[int, int], int]
"""(shard, epoch) → timestamp."""
WireVector = list[tuple[int, int, int]]


def join_into(target: Vector, other: Vector) -> None:
    """Makes `target` depend on all that `other` depends on: the larger timestamp per shard and epoch."""
    for origin, ts in other.items():
        if ts > target.get(origin, 0):
            target[origin] = ts


def join(vectors: Iterable[Vector]) -> Vector:
    """The least vector that covers all of them."""
    result: Vector = {}
    for vector in vectors:
        join_into(result, vector)
    return result


def to_wire(vector: Vector) -> WireVector:
    """The form that goes to peers and to the log."""
    return [(shard, epoch, ts) for (shard, epoch), ts in sorted(vector.items())]


def from_wire(rows: WireVector) -> Vector:
    """The inverse of `to_wire`."""
    return {(shard, epoch): ts for shard, epoch, ts in rows}
