"""Is a history of list appends strictly serializable? (Adya's anomalies; method: Kingsbury & Alvaro, "Elle", 2020.)

Every element is appended once, and a read shows the whole list, so reads give the order of a key's versions. From it
follow the edges between transactions: ww (wrote the next version), wr (read what the other wrote), rw (read what the
other overwrote), rt (was answered before the other was sent). A cycle is an anomaly, named by its edges: G0 only ww;
G1c ww and wr; G-single exactly one rw; else G2.

Two graphs are looked at. Without the reads of followers' snapshots, every rt edge counts. With them, a snapshot may
order what unrelated sessions did differently from real time by as much as clocks differ: there, rt edges are between
transactions that are further apart than that; and a session's read comes after what the session has written or seen,
whichever nodes it reads from.
"""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from tests.sim.txn.workload import Event

Graph = dict[int, dict[int, set[str]]]


def check(events: list[Event], skew_us: int = 0) -> list[str]:
    """The anomalies of a history; empty if it is strictly serializable.

    Args:
        skew_us: how much two nodes' clocks can differ.
    """
    problems = _check(events, skew_us)
    if not problems and skew_us and any(event.is_stale for event in events):
        problems = _check([event for event in events if not event.is_stale], 0)
    return problems


def _check(events: list[Event], skew_us: int) -> list[str]:
    problems: list[str] = []
    writer = {
        (key, value): number
        for number, event in enumerate(events)
        for kind, key, value in event.operations
        if kind == "append"
    }
    order = _version_orders(events, problems)
    if problems:
        return problems
    graph: Graph = defaultdict(lambda: defaultdict(set))
    _check_elements(events, order, writer, problems)
    _data_edges(events, order, writer, graph)
    _time_edges(events, graph, skew_us)
    _session_edges(events, writer, graph)
    for component in _components(graph):
        if len(component) > 1:
            problems.append(_name(graph, component, events))
    return problems


def _reads(events: list[Event]) -> Iterable[tuple[int, str, list[int]]]:
    for number, event in enumerate(events):
        if event.completed_us and not event.is_failed:
            appended: dict[str, int] = defaultdict(int)
            for kind, key, value in event.operations:
                if kind == "append":
                    appended[key] += 1
                elif kind == "r":
                    yield number, key, value[: len(value) - appended[key]] if appended[key] else value


def _version_orders(events: list[Event], problems: list[str]) -> dict[str, list[int]]:
    order: dict[str, list[int]] = {}
    for event in events:
        for kind, key, value in event.operations:
            if kind == "r" and event.completed_us and not event.is_failed and len(value) > len(order.get(key, [])):
                order[key] = value
    for event in events:
        for kind, key, value in event.operations:
            if kind == "r" and event.completed_us and not event.is_failed and value != order.get(key, [])[: len(value)]:
                problems.append(f"incompatible order of {key}: {value} and {order[key]}")
    return order


def _check_elements(
    events: list[Event], order: dict[str, list[int]], writer: dict[tuple[str, int], int], problems: list[str]
) -> None:
    for key, values in order.items():
        if len(set(values)) < len(values):
            problems.append(f"duplicate elements in {key}: {values}")
        for value in values:
            number = writer.get((key, value))
            if number is None:
                problems.append(f"garbage: nobody appended {value} to {key}")
            elif events[number].is_failed:
                problems.append(f"G1a: {value} of {key} is from a failed transaction")
    for number, key, value in _reads(events):
        if value and (key, value[-1]) in writer:
            source = writer[key, value[-1]]
            mine = [item for kind, name, item in events[source].operations if kind == "append" and name == key]
            if source != number and value[-1] != mine[-1]:
                problems.append(f"G1b: transaction {number} saw {key} in the middle of transaction {source}")
    for event in events:
        if event.completed_us and not event.is_failed:
            for kind, key, value in event.operations:
                if kind == "append" and value not in order.get(key, []):
                    problems.append(f"lost: acknowledged append of {value} to {key}")


def _data_edges(
    events: list[Event], order: dict[str, list[int]], writer: dict[tuple[str, int], int], graph: Graph
) -> None:
    for key, values in order.items():
        numbers = [writer[key, value] for value in values if (key, value) in writer]
        for one, other in pairwise(numbers):
            if one != other:
                graph[one][other].add("ww")
    for number, key, value in _reads(events):
        values = order.get(key, [])
        if value and (source := writer.get((key, value[-1]))) is not None and source != number:
            graph[source][number].add("wr")
        following = next(
            (writer[key, later] for later in values[len(value) :] if writer.get((key, later), number) != number), None
        )
        if following is not None:
            graph[number][following].add("rw")


def _time_edges(events: list[Event], graph: Graph, skew_us: int) -> None:
    """Real-time order, reduced: an edge only from those that nobody in between follows."""
    points: list[tuple[int, int, int]] = []
    for number, event in enumerate(events):
        if not event.is_stale and not event.is_failed:
            points.append((event.invoked_us, 0, number))
            if event.completed_us:
                points.append((event.completed_us + skew_us, 1, number))
    frontier: set[int] = set()
    before: dict[int, set[int]] = {}
    for _, kind, number in sorted(points):
        if kind == 0:
            before[number] = set(frontier)
            for earlier in frontier:
                graph[earlier][number].add("rt")
        else:
            frontier = (frontier - before[number]) | {number}


def _session_edges(events: list[Event], writer: dict[tuple[str, int], int], graph: Graph) -> None:
    """In snapshots too, a session sees its own writes, what it has seen before, and never an older snapshot."""
    before: dict[int, list[int]] = defaultdict(list)
    for number, event in sorted(enumerate(events), key=lambda row: row[1].invoked_us):
        if event.is_failed:
            continue
        if event.is_stale:
            for earlier in before.pop(event.process, []):
                if earlier != number:
                    graph[earlier][number].add("rt")
        if event.is_stale or any(kind == "append" for kind, _, _ in event.operations):
            before[event.process].append(number)
        elif event.completed_us:
            last = [(key, value[-1]) for kind, key, value in event.operations if kind == "r" and value]
            before[event.process] += [writer[name] for name in last if name in writer]


def _components(graph: Graph) -> list[list[int]]:
    """Tarjan's strongly connected components, without recursion."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    on_stack: set[int] = set()
    stack: list[int] = []
    found: list[list[int]] = []
    for root in list(graph):
        if root in index:
            continue
        work = [(root, iter(list(graph[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, children = work[-1]
            for child in children:
                if child not in index:
                    index[child] = low[child] = len(index)
                    stack.append(child)
                    on_stack.add(child)
                    work.append((child, iter(list(graph[child])) if child in graph else iter(())))
                    break
                if child in on_stack:
                    low[node] = min(low[node], index[child])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    found.append(component)
    return found


def _name(graph: Graph, component: list[int], events: list[Event]) -> str:
    """The worst anomaly of a component with cycles, with its smallest members."""
    for name, kinds in (("G0", {"ww"}), ("G1c", {"ww", "wr"}), ("G2-item", {"ww", "wr", "rw"})):
        if cycle := _cycle(graph, set(component), kinds):
            rw = sum("rw" in graph[a][b] and not graph[a][b] & {"ww", "wr"} for a, b in pairwise(cycle))
            label = "G-single" if name == "G2-item" and rw == 1 else name
            return f"{label}: " + _describe(graph, cycle, events)
    cycle = _cycle(graph, set(component), {"ww", "wr", "rw", "rt"})
    return "real-time: " + _describe(graph, cycle, events)


def _describe(graph: Graph, cycle: list[int], events: list[Event]) -> str:
    steps = [f"T{a} {'/'.join(sorted(graph[a][b]))}→ T{b}" for a, b in pairwise(cycle)]
    shown = [f"T{number}={events[number].operations}" for number in cycle[:-1]]
    return ", ".join(steps) + "; " + "; ".join(shown)


def _cycle(graph: Graph, members: set[int], kinds: set[str]) -> list[int]:
    """A shortest cycle through some member along edges of these kinds; empty if there is none."""
    best: list[int] = []
    for start in sorted(members)[:200]:
        parents = {start: start}
        queue = [start]
        for node in queue:
            for child, edge in graph[node].items():
                if child == start and edge & kinds:
                    path = [start]
                    while node != start:
                        path.append(node)
                        node = parents[node]
                    path = [start, *path[:0:-1], start]
                    if not best or len(path) < len(best):
                        best = path
                    queue = []
                    break
                if child in members and child not in parents and edge & kinds:
                    parents[child] = node
                    queue.append(child)
            else:
                continue
            break
    return best
