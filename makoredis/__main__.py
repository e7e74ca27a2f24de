"""The command line: starts a node."""

import argparse
import signal
import sys
import time
from pathlib import Path

import trio

from makoredis.base.errors import Fatal
from makoredis.cluster.node import open_node
from makoredis.data.config import DataConfig
from makoredis.server.config import Config
from makoredis.server.server import Server
from makoredis.version import VERSION


def main(arguments: list[str] | None = None) -> int:
    """Runs the server until it is told to stop. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="makoredis", description="A Redis-compatible, durable, serializable database")
    parser.add_argument("--port", type=int, default=6380)
    parser.add_argument("--dir", default="./makoredis-data")
    parser.add_argument("--durability", choices=("sync", "interval", "memory"), default="sync")
    parser.add_argument("--version", action="version", version=f"makoredis {VERSION}")
    options = parser.parse_args(arguments)
    config = Config(port=options.port, directory=options.dir, durability=options.durability)
    try:
        return serve(config)
    except Fatal as error:
        print(f"makoredis: {error}", file=sys.stderr)
        return 1


def serve(config: Config) -> int:
    """Opens the data, recovers, and serves."""
    started = time.monotonic()
    node = open_node(
        Path(config.directory), config.durability, config.databases, DataConfig(), lambda text: print(text, flush=True)
    )
    server = Server(config, node)
    port = server.reactor.listen(config.bind[0], config.port)
    keys = sum(database.size for database in node.host.space.by_id)
    elapsed = time.monotonic() - started
    print(f"makoredis {VERSION} on {config.bind[0]}:{port}", flush=True)
    print(f"data in {config.directory}, durability {config.durability}; {keys} keys in {elapsed:.2f} s", flush=True)
    trio.run(_run, server)
    node.close()
    return 0


async def _run(server: Server) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.reactor.run)
        nursery.start_soon(server.run_timer)
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                break
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    sys.exit(main())
