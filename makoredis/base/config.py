"""The configuration file: which nodes and shards there are, and how they behave.

Every key has a default, an unknown key is an error, and every error is one line with file, key, value, and what would
be valid. `conf/*.yml` are the reference for users: each key with a comment.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DEFAULT_PORT = 6380
PEER_PORT_OFFSET = 10_000
"""A node's port for its peers, if none is given, is its client port plus this (as in Redis Cluster)."""


class ConfigError(Exception):
    """One line: file, key, value, what would be valid."""


@dataclass(slots=True)
class NodeConfig:
    """One node of the file."""

    name: str
    id: int
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    peer_port: int = 0
    dir: str = "./makoredis-data"
    witness: bool = False
    """Votes, but keeps no data."""
    join: bool = False
    """Not one of the first members: begins empty and waits until it is added."""


@dataclass(slots=True)
class FileConfig:
    """The whole file."""

    path: Path | None = None
    cluster: str = "makoredis"
    nodes: list[NodeConfig] = field(default_factory=list)
    shards: int = 1
    first_shards: int = 0
    """Among how many of them the slots are divided in the beginning; 0: all. The others get theirs by command."""
    consensus: str = "raft"
    durability: str = "sync"
    execution: str = "speculative"
    reads: str = "lease"
    redirect: str = "forward"
    heartbeat_ms: int = 50
    election_ms: int = 500
    quiesce_ms: int = 0
    max_staleness_ms: int = 10_000
    max_clock_offset_ms: int = 250
    prefer_spread_leaders: bool = True
    checkpoint_log_bytes: int = 64 * 1024 * 1024
    """A checkpoint is made when so much log was written since the last one."""
    log_keep_bytes: int = 64 * 1024 * 1024
    """Log kept in memory for nodes that were away; one that misses more gets a snapshot."""
    disk_free_bytes_min: int = 256 * 1024 * 1024
    """Writes are refused while less than this is free below the data directory."""
    disk_ballast_bytes: int = 128 * 1024 * 1024
    """Reserved in the data directory, to be given up when the disk is full: reopening the store takes some space."""
    peer_delay_ms: int = 0
    """Injected between nodes, for tests and benchmarks only."""
    parameters: dict[str, str] = field(default_factory=dict)
    """What CONFIG SET would take."""

    def node(self, name: str) -> NodeConfig:
        """Raises: ConfigError for a name that is not in the file."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise ConfigError(f"{self.path}: there is no node '{name}'; the file has: {known}")


_CHOICES = {
    "consensus": ("raft", "paxos"),
    "durability": ("sync", "interval", "memory"),
    "execution": ("speculative", "synchronous"),
    "reads": ("lease", "quorum"),
    "redirect": ("forward", "moved"),
}
_RANGES = {
    "shards": (1, 1024),
    "first_shards": (0, 1024),
    "heartbeat_ms": (5, 60_000),
    "election_ms": (20, 600_000),
    "quiesce_ms": (0, 86_400_000),
    "max_staleness_ms": (0, 86_400_000),
    "max_clock_offset_ms": (1, 60_000),
    "checkpoint_log_bytes": (4096, 1 << 40),
    "log_keep_bytes": (4096, 1 << 40),
    "disk_free_bytes_min": (0, 1 << 50),
    "disk_ballast_bytes": (0, 1 << 40),
    "peer_delay_ms": (0, 10_000),
    "id": (1, 65_535),
    "port": (0, 65_535),
    "peer_port": (0, 65_535),
}
_BOOLEANS = ("prefer_spread_leaders", "witness", "join")
_TEXTS = ("cluster", "host", "dir")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


def load_config(path: Path) -> FileConfig:
    """Reads and checks a configuration file.

    Raises: ConfigError.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: the file must be a mapping of keys to values")
    config = FileConfig(path=path)
    known = [name for name in FileConfig.__slots__ if name != "path"]
    for key, value in raw.items():
        if key not in known:
            raise ConfigError(f"{path}: unknown key '{key}'; valid keys are: {', '.join(known)}")
        if key == "nodes":
            config.nodes = _nodes(path, value)
        elif key == "parameters":
            config.parameters = _parameters(path, value)
        else:
            setattr(config, key, _checked(path, key, value))
    _check_whole(config)
    return config


def _checked(path: Path, key: str, value: Any) -> Any:
    name = key.rsplit(".", 1)[-1]
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ConfigError(f"{path}: {key}: '{value}' is not one of: {', '.join(_CHOICES[name])}")
    elif name in _RANGES:
        low, high = _RANGES[name]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ConfigError(f"{path}: {key}: '{value}' is not an integer from {low} to {high}")
    elif name in _BOOLEANS and not isinstance(value, bool):
        raise ConfigError(f"{path}: {key}: '{value}' is neither true nor false")
    elif name in _TEXTS and (not isinstance(value, str) or not value):
        raise ConfigError(f"{path}: {key}: '{value}' is not a text")
    return value


def _nodes(path: Path, raw: Any) -> list[NodeConfig]:
    if not isinstance(raw, Mapping) or not raw:
        raise ConfigError(f"{path}: nodes: must map node names to their settings")
    nodes: list[NodeConfig] = []
    known = [name for name in NodeConfig.__slots__ if name != "name"]
    for position, (name, settings) in enumerate(raw.items(), 1):
        if not isinstance(name, str) or not _NAME.match(name):
            raise ConfigError(f"{path}: nodes: '{name}' is not a name of letters, digits, '_', '.', '-'")
        if not isinstance(settings, Mapping | None):
            raise ConfigError(f"{path}: nodes.{name}: '{settings}' is not a mapping")
        node = NodeConfig(name, position)
        for key, value in (settings or {}).items():
            if key not in known:
                raise ConfigError(f"{path}: unknown key 'nodes.{name}.{key}'; valid keys are: {', '.join(known)}")
            setattr(node, key, _checked(path, f"nodes.{name}.{key}", value))
        if node.peer_port == 0 and node.port:
            node.peer_port = node.port + PEER_PORT_OFFSET
        nodes.append(node)
    return nodes


def _parameters(path: Path, raw: Any) -> dict[str, str]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{path}: parameters: must map names to values")
    return {str(name): _parameter_text(value) for name, value in raw.items()}


def _parameter_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _check_whole(config: FileConfig) -> None:
    for attribute in ("id", "name"):
        seen: set[Any] = set()
        for node in config.nodes:
            value = getattr(node, attribute)
            if value in seen:
                raise ConfigError(f"{config.path}: nodes.{node.name}.{attribute}: {value} is used twice")
            seen.add(value)
    addresses: dict[tuple[str, int], str] = {}
    for node in config.nodes:
        for port in (node.port, node.peer_port):
            other = addresses.setdefault((node.host, port), node.name)
            if port and other != node.name:
                raise ConfigError(f"{config.path}: nodes.{node.name}: {node.host}:{port} is used by {other} too")
    directories: dict[tuple[str, Path], str] = {}
    for node in config.nodes:
        other = directories.setdefault((node.host, Path(node.dir)), node.name)
        if other != node.name:
            raise ConfigError(f"{config.path}: nodes.{node.name}.dir: {node.dir} is used by {other} too")
    if config.election_ms < 4 * config.heartbeat_ms:
        raise ConfigError(
            f"{config.path}: election_ms: {config.election_ms} is not at least 4 × heartbeat_ms ({config.heartbeat_ms})"
        )
    if config.election_ms < 2 * config.max_clock_offset_ms:
        raise ConfigError(
            f"{config.path}: election_ms: {config.election_ms} is not at least 2 × max_clock_offset_ms "
            f"({config.max_clock_offset_ms})"
        )
