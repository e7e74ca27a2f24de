"""The command line: starts a node."""

import argparse
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import trio

from makoredis.admin import rdb_tool
from makoredis.admin.launcher import launch
from makoredis.admin.repair import Repair, advice
from makoredis.base import console
from makoredis.base.config import ConfigError, FileConfig, NodeConfig, load_config
from makoredis.base.errors import Fatal
from makoredis.base.ids import NodeId
from makoredis.cluster.node import open_node
from makoredis.cluster.settings import NodeSettings
from makoredis.consensus.core import ElectionRule
from makoredis.server.config import Config
from makoredis.server.memory import MemoryMeter
from makoredis.server.parameters import BadValue, ParameterTable
from makoredis.server.server import Server
from makoredis.storage.errors import Damaged
from makoredis.version import VERSION

OTHER_FILES = 512
"""Open files beside clients' connections: the store's, peers', and some to spare."""
STDIN = 0
READ_BYTES = 4096
LOG_BYTES_SAID = 100_000
"""From here on a start says how much log it has found that it may not apply yet."""


def main(arguments: list[str] | None = None) -> int:
    """Runs what the command line says. Returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] in (["import"], ["export"]):
        return rdb_tool.main(words)
    options = _parser().parse_args(arguments)
    # As redis-server: whoever closes the terminal stops nothing by it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        file = load_config(Path(options.config)) if options.config else FileConfig()
        if options.repair and options.node is None:
            raise ConfigError("--repair needs --node NAME, of a file with several nodes")
        if len(file.nodes) > 1 and options.node is None and not options.check_config:
            _refuse_for_all(options)
            return launch(file, Path(options.config))
        node = _pick_node(file, options.node)
        config, settings = configure(options, file, node), node_settings(file, node)
        if options.check_config:
            print("the configuration is valid")
            return 0
        if options.repair:
            return _repair(Repair(file, node), config, settings)
        return serve(config, settings, stops_with_stdin=options.stop_with_stdin)
    except Damaged as error:
        print(f"makoredis: {error.place}: {error.what}; {advice(file, options.node)}", file=sys.stderr)
        return 1
    except (ConfigError, Fatal) as error:
        print(f"makoredis: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"makoredis: {error.strerror}: {error.filename or ''}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # Ctrl-C while the data is being loaded; later it is a signal that stops the server in order.
        print("makoredis: interrupted before it was ready", file=sys.stderr)
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="makoredis",
        description="A Redis-compatible, durable, serializable database",
        epilog="makoredis import FILE.rdb and makoredis export FILE.rdb move keys from and to Redis's own files.",
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file (see conf/single.yml)")
    parser.add_argument("--node", metavar="NAME", help="which node of the file to run")
    parser.add_argument("--port", type=int, metavar="N", help="port for clients (6380)")
    parser.add_argument("--bind", metavar="ADDRESS", help="address for clients (127.0.0.1)")
    parser.add_argument("--dir", metavar="D", help="where the data is (./makoredis-data)")
    parser.add_argument(
        "--durability", choices=("sync", "interval", "memory"), help="what an acknowledged write survives"
    )
    parser.add_argument(
        "--repair", action="store_true", help="put this node's data aside and fetch it anew from the other replicas"
    )
    parser.add_argument("--stop-with-stdin", action="store_true", help="stop in order when standard input ends")
    parser.add_argument("--check-config", action="store_true", help="only check the configuration")
    parser.add_argument("--version", action="version", version=f"makoredis {VERSION}")
    return parser


def _refuse_for_all(options: argparse.Namespace) -> None:
    """Raises: ConfigError for an option that means one node when all nodes of a file are started."""
    given = [name for name in ("port", "bind", "dir", "durability") if getattr(options, name) is not None]
    if given:
        raise ConfigError(f"--{given[0]} is for one node; add --node NAME, or set it in {options.config}")


def configure(options: argparse.Namespace, file: FileConfig, node: NodeConfig) -> Config:
    """The configuration of a node: the file's, with what the command line says instead.

    Raises: ConfigError.
    """
    table = ParameterTable()
    settings = {
        **file.parameters,
        "bind": options.bind or node.host,
        "port": str(node.port if options.port is None else options.port),
        "dir": options.dir or node.dir,
        "durability": options.durability or file.durability,
    }
    for name, value in settings.items():
        try:
            table.set_at_start(name, value)
        except KeyError:
            raise ConfigError(f"{file.path}: parameters: there is no parameter '{name}'") from None
        except BadValue as error:
            raise ConfigError(f"{file.path or 'command line'}: {name}: '{value}': {error}") from None
    try:
        config = Config(table)
    except BadValue as error:
        raise ConfigError(f"{file.path}: parameters: {error}") from None
    config.file = options.config
    return config


def _pick_node(file: FileConfig, name: str | None) -> NodeConfig:
    """The node to run; with several and no name, the first (only to check the file)."""
    if name is not None:
        return file.node(name)
    return file.nodes[0] if file.nodes else NodeConfig("n1", 1)


def node_settings(file: FileConfig, node: NodeConfig) -> NodeSettings:
    """Which node this is among the others.

    Raises: ConfigError for what one node can do and several cannot.
    """
    if file.shards == 1 and file.execution != "speculative":
        raise ConfigError(f"{file.path}: execution: '{file.execution}' is for several shards; valid is: speculative")
    if len(file.nodes) < 2 and not node.join and file.shards == 1:
        return NodeSettings(
            id=NodeId(node.id),
            cluster=file.cluster,
            members=(NodeId(node.id),),
            log_bytes_per_checkpoint=file.checkpoint_log_bytes,
            disk_free_bytes_min=file.disk_free_bytes_min,
            disk_ballast_bytes=file.disk_ballast_bytes,
        )
    if not file.nodes:
        raise ConfigError(f"{file.path}: shards: {file.shards} takes nodes, if only one: 'nodes: {{n1: {{id: 1}}}}'")
    if file.durability == "memory":
        raise ConfigError(f"{file.path}: durability: 'memory' is for a single node; use 'interval' or 'sync'")
    if file.first_shards > file.shards:
        raise ConfigError(f"{file.path}: first_shards: {file.first_shards} is more than shards: {file.shards}")
    first = [] if node.join else [each for each in file.nodes if not each.join]
    return NodeSettings(
        id=NodeId(node.id),
        cluster=file.cluster,
        members=tuple(sorted(NodeId(each.id) for each in first)),
        witnesses=tuple(sorted(NodeId(each.id) for each in first if each.witness)),
        addresses={NodeId(each.id): (each.host, each.peer_port) for each in file.nodes},
        clients={NodeId(each.id): (each.host, each.port) for each in file.nodes},
        redirects=file.redirect == "moved",
        max_staleness_seconds=file.max_staleness_ms / 1000,
        max_clock_offset_ms=file.max_clock_offset_ms,
        listen=(node.host, node.peer_port),
        tick_seconds=file.heartbeat_ms / 1000,
        election_ticks=max(4, file.election_ms // file.heartbeat_ms),
        quiesce_seconds=file.quiesce_ms / 1000,
        election_rule=ElectionRule[file.consensus.upper()],
        lease_reads=file.reads == "lease",
        is_synchronous=file.execution == "synchronous",
        shards=file.shards,
        first_shards=file.first_shards,
        spreads_leaders=file.prefer_spread_leaders,
        clock_offset_us_max=file.max_clock_offset_ms * 1000,
        peer_delay_seconds=file.peer_delay_ms / 1000,
        log_bytes_per_checkpoint=file.checkpoint_log_bytes,
        log_bytes_keep=file.log_keep_bytes,
        disk_free_bytes_min=file.disk_free_bytes_min,
        disk_ballast_bytes=file.disk_ballast_bytes,
    )


def _repair(repair: Repair, config: Config, settings: NodeSettings) -> int:
    """Starts the node as one that was never there."""
    repair.check(Path(config.directory))
    repair.remove()
    _progress(f"the other nodes have removed node {settings.id}")
    aside = repair.put_aside(Path(config.directory))
    if aside is not None:
        _progress(f"the old data is in {aside} now; remove it when nobody needs it any more")
    return serve(config, replace(settings, members=(), witnesses=()), repair.add)


def _listen(config: Config, settings: NodeSettings, server: Server) -> None:
    """For the other nodes and for clients. Raises: ConfigError."""
    try:
        server.node.connect(server.reactor)
    except OSError as error:
        assert settings.listen is not None
        host, port = settings.listen
        raise ConfigError(f"cannot listen for other nodes on {host} port {port}: {error.strerror}") from None
    try:
        server.listeners.move(config.bind, config.port)
    except OSError as error:
        raise ConfigError(f"cannot listen on {' '.join(config.bind)} port {config.port}: {error.strerror}") from None


def serve(
    config: Config,
    settings: NodeSettings,
    before_clients: Callable[[], None] | None = None,
    *,
    stops_with_stdin: bool = False,
) -> int:
    """Opens the data, recovers, and serves until told to stop.

    Args:
        before_clients: called when the data directory is there and the ports are taken.
        stops_with_stdin: the end of standard input is an order to stop.
    """
    started = time.monotonic()
    _raise_open_files(config)
    memory = MemoryMeter()
    node = open_node(Path(config.directory), config.durability, config.databases, config.data, _progress, settings)
    server = Server(config, node, memory)
    _listen(config, settings, server)
    if before_clients is not None:
        before_clients()
    keys = sum(database.size for space in node.spaces() for database in space.by_id)
    addresses = ", ".join(f"{address}:{server.listeners.bound_port()}" for address in config.bind)
    banner = (
        f"makoredis {VERSION}: ready on {addresses}; data in {config.directory}; durability {config.durability}; "
        f"{keys:,} keys recovered in {time.monotonic() - started:.2f} s"
    )
    log_bytes = node.keepers.log_bytes()
    if node.is_replicated and log_bytes >= LOG_BYTES_SAID:
        banner += f"; {log_bytes / 1e6:.1f} MB of log wait for a leader to confirm them"
    _tame_collector()
    try:
        trio.run(_run, server, banner, stops_with_stdin)
    except BaseExceptionGroup as group:
        fatal, rest = group.split(Fatal)
        if fatal is None or rest is not None:
            raise
        # The node stops with one line, not with a trace: what is wrong is outside of the program.
        error = _first(fatal)
        console.log("error", f"this node ends: {error}")
        raise error from None
    server.close()
    console.log("info", "stopped")
    return 0


def _raise_open_files(config: Config) -> None:
    """Makes room for `maxclients` connections, or lowers that to what the system allows, as Redis does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = config.maxclients + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            # Where there are few, half of them.
            config.maxclients = max(1, allowed - min(OTHER_FILES, allowed // 2))
            _progress(f"maxclients is {config.maxclients}, because the system allows only {allowed} open files")


def _first(group: BaseExceptionGroup[Fatal]) -> Fatal:
    """One of the errors that several tasks ended with."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Fatal)
    return error


def _tame_collector() -> None:
    """What was loaded stays: it need not be looked through again. Requests make no cycles, so that young collections
    may be rare (every 0.1 s at full load instead of every millisecond)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def _progress(text: str) -> None:
    console.log("info", text)


async def _run(server: Server, banner: str, stops_with_stdin: bool) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        # Only now does a signal stop the server in order, so only now is it ready.
        console.announce(banner)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.reactor.run)
            nursery.start_soon(server.timer.run)
            nursery.start_soon(_stop_on_signal, server, signals)
            if stops_with_stdin:
                nursery.start_soon(_stop_with_stdin, server)
            await server.stop_event.wait()
            nursery.cancel_scope.cancel()


async def _stop_on_signal(server: Server, signals: AsyncIterator[int]) -> None:
    async for number in signals:
        console.log("info", f"{signal.Signals(number).name}: stopping")
        server.stop_event.set()


async def _stop_with_stdin(server: Server) -> None:
    """Whoever started this node has its standard input, and is gone when that ends: killed, for example."""
    await trio.lowlevel.wait_readable(STDIN)
    while os.read(STDIN, READ_BYTES):
        await trio.lowlevel.wait_readable(STDIN)
    console.log("info", "standard input has ended: stopping")
    server.stop_event.set()


if __name__ == "__main__":
    sys.exit(main())
