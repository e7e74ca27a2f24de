"""What the parameters with a meaning here do when they are set."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from makoredis.data import events
from makoredis.data.config import DataConfig
from makoredis.server.parameters import BadValue, ParameterTable, memory_bytes
from resp.parser import RequestLimits

if TYPE_CHECKING:
    from makoredis.server.server import Server

OutputLimits = dict[str, tuple[int, int, int]]
"""Per class of client: hard limit and soft limit in bytes, seconds that the soft one may be exceeded; 0 = none."""

_CLIENT_CLASSES = {"normal": "normal", "slave": "replica", "replica": "replica", "pubsub": "pubsub"}

_BIND_REFUSED = "Failed to bind to specified addresses."


class Config:
    """Typed views of the parameter table that the server looks at, kept current by hooks."""

    def __init__(self, table: ParameterTable | None = None) -> None:
        self.table = ParameterTable() if table is None else table
        self.data = DataConfig()
        self.file: str | None = None
        """The file that CONFIG REWRITE writes; None without one."""
        self.output_limits: OutputLimits = {}
        self.request_limits = RequestLimits()
        """Shared by the parsers of all clients."""
        self.on_change: Callable[[], None] = lambda: None
        self._refresh()

    def _refresh(self) -> None:
        table = self.table
        self.bind = table["bind"].split()
        self.port = table.integer("port")
        self.directory = table["dir"]
        self.durability = table["durability"]
        self.databases = table.integer("databases")
        self.maxclients = table.integer("maxclients")
        self.requirepass = table["requirepass"].encode("utf-8", "surrogateescape")
        self.is_protected_mode = table["protected-mode"] == "yes"
        self.tracking_keys_max = table.integer("tracking-table-max-keys")
        self.timeout_seconds = table.integer("timeout")
        self.maxmemory_bytes = table.integer("maxmemory")
        self.redis_version = table["redis-version"]
        self.request_limits.query_buffer_bytes_max = table.integer("client-query-buffer-limit")
        self.request_limits.bulk_bytes_max = table.integer("proto-max-bulk-len")
        self._refresh_data()
        self.output_limits = parse_output_limits(table["client-output-buffer-limit"], self.output_limits)

    def _refresh_data(self) -> None:
        table, data = self.table, self.data
        data.hash_max_listpack_entries = table.integer("hash-max-listpack-entries")
        data.hash_max_listpack_value = table.integer("hash-max-listpack-value")
        data.list_max_listpack_size = table.integer("list-max-listpack-size")
        data.set_max_intset_entries = table.integer("set-max-intset-entries")
        data.set_max_listpack_entries = table.integer("set-max-listpack-entries")
        data.set_max_listpack_value = table.integer("set-max-listpack-value")
        data.zset_max_listpack_entries = table.integer("zset-max-listpack-entries")
        data.zset_max_listpack_value = table.integer("zset-max-listpack-value")
        data.hll_sparse_max_bytes = table.integer("hll-sparse-max-bytes")
        data.stream_node_max_bytes = table.integer("stream-node-max-bytes")
        data.stream_node_max_entries = table.integer("stream-node-max-entries")
        data.proto_max_bulk_len = table.integer("proto-max-bulk-len")
        data.counts_uses = table["maxmemory-policy"].endswith("-lfu")
        data.shares_integers = not self.maxmemory_bytes or not table["maxmemory-policy"].endswith(("-lru", "-lfu"))
        wanted = parse_notify(table["notify-keyspace-events"])
        data.notify_events = wanted if wanted & (events.KEYSPACE | events.KEYEVENT) else 0

    def attach(self, server: "Server") -> None:
        """Installs the hooks that need the server."""
        table = self.table
        self.on_change = server.config_changed
        table.hooks["client-output-buffer-limit"] = self._output_limits
        table.hooks["notify-keyspace-events"] = self._notify
        table.hooks["requirepass"] = lambda value: server.acl.set_default_password(
            value.encode("utf-8", "surrogateescape")
        )
        table.hooks["bind"] = lambda value: self._listen(server, value.split(), server.listeners.port)
        table.hooks["port"] = lambda value: self._listen(server, server.listeners.hosts, int(value))
        table.hooks["save"] = _save_points
        table.hooks["latency-tracking-info-percentiles"] = _percentiles
        table.hooks["slowlog-max-len"] = lambda value: server.slowlog_resize(int(value))

    def set_many(self, pairs: list[tuple[str, str]]) -> None:
        """CONFIG SET. Raises: ClientError."""
        self.table.set_many(pairs)
        self._refresh()
        self.on_change()

    def _listen(self, server: "Server", hosts: Sequence[str], port: int) -> None:
        """Raises: BadValue, and listens where it did before."""
        is_port = port != server.listeners.port
        try:
            server.listeners.move(hosts, port)
        except OSError:
            refusal = "Unable to listen on this port. Check server logs." if is_port else _BIND_REFUSED
            raise BadValue(refusal) from None

    def _output_limits(self, value: str) -> str:
        self.output_limits = parse_output_limits(value, self.output_limits)
        names = {"normal": "normal", "replica": "slave", "pubsub": "pubsub"}
        return " ".join(f"{names[kind]} {a} {b} {c}" for kind, (a, b, c) in self.output_limits.items())

    def _notify(self, value: str) -> str:
        return format_notify(parse_notify(value))


def parse_output_limits(value: str, present: OutputLimits) -> OutputLimits:
    """Raises: BadValue."""
    words = value.split()
    if len(words) % 4 or not words:
        raise BadValue("Wrong number of arguments in buffer limit configuration.")
    limits = dict(present)
    for at in range(0, len(words), 4):
        kind = _CLIENT_CLASSES.get(words[at].lower())
        if kind is None:
            raise BadValue("Invalid client class specified in buffer limit configuration.")
        hard, soft = memory_bytes(words[at + 1]), memory_bytes(words[at + 2])
        if hard is None or soft is None or not words[at + 3].isdigit():
            raise BadValue("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
        limits[kind] = (hard, soft, int(words[at + 3]))
    return limits


def parse_notify(value: str) -> int:
    """The mask of event classes for letters. Raises: BadValue."""
    mask = 0
    for letter in value:
        if letter not in events.LETTERS:
            raise BadValue("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
        mask |= events.LETTERS[letter]
    return mask


def format_notify(mask: int) -> str:
    """The letters for a mask, in Redis's order."""
    if mask & events.ALL == events.ALL:
        text = "A"
    else:
        text = "".join(letter for letter in "g$lshzxetd" if mask & events.LETTERS[letter])
    return text + "".join(letter for letter in "KEmn" if mask & events.LETTERS[letter])


def _save_points(value: str) -> str:
    words = value.split()
    if len(words) % 2 or any(not word.isdigit() for word in words) or any(int(word) < 1 for word in words[::2]):
        raise BadValue("Invalid save parameters")
    return " ".join(words)


def _percentiles(value: str) -> str:
    words = []
    for word in value.split():
        try:
            percent = float(word)
        except ValueError:
            raise BadValue("Invalid latency-tracking-info-percentiles parameters") from None
        if not 0 <= percent <= 100:
            raise BadValue("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
        words.append(f"{percent:.15g}")
    return " ".join(words)
