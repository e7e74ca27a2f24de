"""Commands on the server: INFO, saving, the slow log, latency, memory, MONITOR, SHUTDOWN and the like."""

import random
import time
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError, SubcommandError, printable
from makoredis.commands.arguments import SYNTAX_ERROR, double, int64
from makoredis.server.commands.help import help_reply
from makoredis.server.info import info_text
from makoredis.server.info_cluster import role_reply
from makoredis.server.latencies import histogram
from makoredis.server.memory import STARTUP_BYTES, resident_bytes
from makoredis.server.routes import NO_REPLY, session_command
from makoredis.server.session import Session
from makoredis.version import VERSION
from resp.replies import OK, Double, Map, Simple, Verbatim

if TYPE_CHECKING:
    from makoredis.server.server import Server


@session_command("INFO", "Returns information and statistics about the server.")
def info(server: "Server", session: Session, *sections: bytes) -> Any:
    names = [section.decode("latin-1").lower() for section in sections]
    return Verbatim(b"txt", info_text(server, names).encode())


@session_command("TIME", "Returns the server time.")
def time_(server: "Server", session: Session) -> Any:
    # Not the turn's time: a script may wait for it to change.
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    return [b"%d" % seconds, b"%d" % microseconds]


@session_command("LASTSAVE", "Returns the Unix timestamp of the last successful save to disk.")
def lastsave(server: "Server", session: Session) -> Any:
    return int(server.node.keepers.finished_at() or server.started)


@session_command("SAVE", "Synchronously saves the database(s) to disk.")
def save(server: "Server", session: Session) -> Any:
    _refuse_if_full(server)
    # One that is under way already may not hold everything, so another follows it. The answer comes when that is on the
    # disk; until then only this client waits.
    server.checkpoint_waiters.append(session)
    server.node.keepers.request()
    server.hold_for_checkpoint(session)
    return NO_REPLY


@session_command("BGSAVE", "Asynchronously saves the database(s) to disk.")
def bgsave(server: "Server", session: Session, *options: bytes) -> Any:
    if options and (len(options) > 1 or options[0].upper() != b"SCHEDULE"):
        raise SYNTAX_ERROR
    _refuse_if_full(server)
    server.node.keepers.request()
    return Simple(b"Background saving started")


def _refuse_if_full(server: "Server") -> None:
    if server.node.full_disk.refusal is not None:
        raise ClientError(server.node.full_disk.refusal)


@session_command("BGREWRITEAOF", "Asynchronously rewrites the append-only file to disk.")
def bgrewriteaof(server: "Server", session: Session) -> Any:
    server.node.keepers.request()
    return Simple(b"Background append only file rewriting started")


@session_command("SHUTDOWN", "Synchronously saves the database(s) to disk and shuts down the server.")
def shutdown(server: "Server", session: Session, *options: bytes) -> Any:
    words = [option.upper() for option in options]
    if any(word not in (b"NOSAVE", b"SAVE", b"NOW", b"FORCE", b"ABORT") for word in words):
        raise SYNTAX_ERROR
    if b"ABORT" in words:
        if len(words) > 1:
            raise SYNTAX_ERROR
        raise ClientError("ERR No shutdown in progress.")
    if b"SAVE" in words and b"NOSAVE" in words:
        raise SYNTAX_ERROR
    server.request_stop(saves=b"NOSAVE" not in words)
    return NO_REPLY


@session_command("MONITOR", "Listens for all requests received by the server in real-time.")
def monitor(server: "Server", session: Session) -> Any:
    if session.multi is not None:
        raise ClientError("ERR Command not allowed inside a transaction")
    session.is_monitor = True
    server.monitors.sessions[session.id] = session
    session.refresh_special()
    server.refresh_special()
    return OK


@session_command("ROLE", "Returns the replication role.")
def role(server: "Server", session: Session) -> Any:
    return role_reply(server)


@session_command("LOLWUT", "Displays computer art and the Redis version.")
def lolwut(server: "Server", session: Session, *options: bytes) -> Any:
    if len(options) > 1 and options[0].upper() == b"VERSION":
        int64(options[1])
    rng = random.Random(server.wall_us)
    waves = "\n".join("".join(rng.choice("  .-~≈") for _ in range(60)) for _ in range(8))
    return Verbatim(b"txt", f"{waves}\nRedis ver. {server.config.redis_version} (makoredis {VERSION})\n".encode())


# -- SLOWLOG


@session_command("SLOWLOG|GET", "Returns the slow log's entries.")
def slowlog_get(server: "Server", session: Session, *count: bytes) -> Any:
    limit = 10
    if len(count) > 1:
        raise SubcommandError("SLOWLOG", "GET")
    if count:
        error = ClientError("ERR count should be greater than or equal to -1")
        limit = int64(count[0], error)
        if limit < -1:
            raise error
    entries = list(server.slowlog.entries)
    shown = entries if limit == -1 else entries[:limit]
    return [[entry.id, entry.at, entry.duration_us, entry.argv, entry.address.encode(), entry.name] for entry in shown]


@session_command("SLOWLOG|LEN", "Returns the number of entries in the slow log.")
def slowlog_len(server: "Server", session: Session) -> Any:
    return len(server.slowlog.entries)


@session_command("SLOWLOG|RESET", "Clears all entries from the slow log.")
def slowlog_reset(server: "Server", session: Session) -> Any:
    server.slowlog.entries.clear()
    return OK


@session_command("SLOWLOG|HELP", "Returns helpful text about the different subcommands.")
def slowlog_help(server: "Server", session: Session) -> Any:
    return help_reply(
        "SLOWLOG",
        "GET [<count>]",
        "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
        "    Entries are made of:",
        "    id, timestamp, time in microseconds, arguments array, client IP and port,",
        "    client name",
        "LEN",
        "    Return the length of the slowlog.",
        "RESET",
        "    Reset the slowlog.",
    )


# -- LATENCY


@session_command("LATENCY|LATEST", "Returns the latest latency samples for all events.")
def latency_latest(server: "Server", session: Session) -> Any:
    return [[name.encode(), *values] for name, values in server.latency.latest()]


@session_command("LATENCY|HISTORY", "Returns timestamp-latency samples for an event.")
def latency_history(server: "Server", session: Session, event: bytes) -> Any:
    return [list(sample) for sample in server.latency.history(event.decode("latin-1"))]


@session_command("LATENCY|RESET", "Resets the latency data for one or more events.")
def latency_reset(server: "Server", session: Session, *events: bytes) -> Any:
    return server.latency.reset([event.decode("latin-1") for event in events])


@session_command("LATENCY|GRAPH", "Returns a latency graph for an event.")
def latency_graph(server: "Server", session: Session, event: bytes) -> Any:
    name = event.decode("latin-1")
    samples = server.latency.history(name)
    if not samples:
        raise ClientError(f"ERR No samples available for event '{printable(event)}'")
    return Verbatim(b"txt", server.latency.graph(name).encode())


@session_command("LATENCY|DOCTOR", "Returns a human-readable latency analysis report.")
def latency_doctor(server: "Server", session: Session) -> Any:
    return Verbatim(b"txt", server.latency.report().encode())


@session_command("LATENCY|HISTOGRAM", "Returns the cumulative distribution of latencies of a subset or all commands.")
def latency_histogram(server: "Server", session: Session, *names: bytes) -> Any:
    wanted = [name.decode("latin-1").upper() for name in names]
    routes = [route for route in server.routes.by_name.values() if any(route.latencies)]
    chosen = [route for route in routes if not wanted or route.name in wanted or route.name.split("|")[0] in wanted]
    rows = []
    for route in chosen:
        buckets = histogram(route.latencies)
        row = Map([(b"calls", buckets[-1][1]), (b"histogram_usec", Map(buckets))])
        rows.append((route.name.lower().encode(), row))
    return Map(rows)


@session_command("LATENCY|HELP", "Returns helpful text about the different subcommands.")
def latency_help(server: "Server", session: Session) -> Any:
    return help_reply(
        "LATENCY",
        "DOCTOR",
        "    Return a human readable latency analysis report.",
        "GRAPH <event>",
        "    Return an ASCII latency graph for the <event> class.",
        "HISTORY <event>",
        "    Return time-latency samples for the <event> class.",
        "LATEST",
        "    Return the latest latency samples for all events.",
        "RESET [<event> ...]",
        "    Reset latency data of one or more <event> classes.",
        "    (default: reset all data for all event classes)",
        "HISTOGRAM [COMMAND ...]",
        "    Return a cumulative distribution of commands' latencies in histogram format.",
    )


# -- MEMORY (USAGE is a command on keys)


_MUCH_MEMORY_BYTES = 5 << 20


@session_command("MEMORY|DOCTOR", "Outputs a memory problems report.")
def memory_doctor(server: "Server", session: Session) -> Any:
    limit, used = server.config.maxmemory_bytes, server.memory.used()
    if limit and used > limit:
        text = f"{used} bytes are used, maxmemory allows {limit}: writes are refused until keys are deleted."
    elif used < _MUCH_MEMORY_BYTES:
        text = (
            "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in these "
            "conditions. Please, leave for your mission on Earth and fill it with some data. The new Sam and I will be "
            "back to our programming as soon as I finished rebooting."
        )
    else:
        text = (
            "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base."
        )
    return Verbatim(b"txt", (text + "\n").encode())


@session_command("MEMORY|STATS", "Returns details about memory usage.")
def memory_stats(server: "Server", session: Session) -> Any:
    used, resident = server.memory.used(), resident_bytes()
    spaces = server.node.spaces()
    keys = sum(database.size for space in spaces for database in space.by_id)
    dataset = used - STARTUP_BYTES
    databases = [
        (
            b"db.%d" % number,
            Map([(b"overhead.hashtable.main", 0), (b"overhead.hashtable.expires", 0)]),
        )
        for number in range(len(spaces[0].databases))
        if any(space.databases[number].size for space in spaces)
    ]
    return Map(
        [
            (b"peak.allocated", server.memory.peak),
            (b"total.allocated", used),
            (b"startup.allocated", STARTUP_BYTES),
            (b"replication.backlog", 0),
            (b"clients.slaves", 0),
            (b"clients.normal", sum(each.output_bytes() for each in server.by_id.values())),
            (b"cluster.links", 0),
            (b"aof.buffer", server.node.disk.queued_bytes),
            (b"lua.caches", 0),
            (b"functions.caches", 0),
            *databases,
            (b"overhead.total", 0),
            (b"keys.count", keys),
            (b"keys.bytes-per-key", dataset // keys if keys else 0),
            (b"dataset.bytes", dataset),
            (b"dataset.percentage", Double(100 * dataset / max(1, used - STARTUP_BYTES))),
            (b"peak.percentage", Double(100 * used / server.memory.peak)),
            (b"allocator.allocated", used),
            (b"allocator.active", used),
            (b"allocator.resident", used),
            (b"allocator-fragmentation.ratio", Double(1.0)),
            (b"allocator-fragmentation.bytes", 0),
            (b"allocator-rss.ratio", Double(1.0)),
            (b"allocator-rss.bytes", 0),
            (b"rss-overhead.ratio", Double(resident / used)),
            (b"rss-overhead.bytes", resident - used),
            (b"fragmentation", Double(resident / used)),
            (b"fragmentation.bytes", resident - used),
        ]
    )


@session_command("MEMORY|PURGE", "Asks the allocator to release memory.")
def memory_purge(server: "Server", session: Session) -> Any:
    return OK


@session_command("MEMORY|MALLOC-STATS", "Returns the allocator statistics.")
def memory_malloc_stats(server: "Server", session: Session) -> Any:
    return Verbatim(b"txt", b"Stats not supported for the current allocator")


@session_command("MEMORY|HELP", "Returns helpful text about the different subcommands.")
def memory_help(server: "Server", session: Session) -> Any:
    return help_reply(
        "MEMORY",
        "DOCTOR",
        "    Return memory problems reports.",
        "MALLOC-STATS",
        "    Return internal statistics report from the memory allocator.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
    )


# -- DEBUG


@session_command("DEBUG", "A container for debugging commands.")
def debug(server: "Server", session: Session, word: bytes, *arguments: bytes) -> Any:
    name = word.upper()
    if name == b"SLEEP" and len(arguments) == 1:
        server.sleep(double(arguments[0].strip()))
        return OK
    if name == b"ERROR" and len(arguments) == 1:
        raise ClientError(printable(arguments[0]))
    if name == b"JMAP":
        raise ClientError("ERR DEBUG JMAP is not supported: there is no heap of that kind here")
    if name in (b"SET-ACTIVE-EXPIRE", b"QUICKLIST-PACKED-THRESHOLD") and len(arguments) == 1:
        if name == b"SET-ACTIVE-EXPIRE":
            server.expiry.is_on = arguments[0] != b"0"
        return OK
    raise ClientError(f"ERR DEBUG {printable(word[:128])} is not supported by makoredis")
