"""INFO: sections of `name:value` lines with Redis's names, so that dashboards and exporters find what they need.

What has no counterpart here keeps its name and says 0, off, or what Redis says when the feature is not in use.
"""

import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from itertools import chain, islice
from typing import TYPE_CHECKING, cast

from makoredis.data.keyspace import Database
from makoredis.server.info_cluster import mako, raft, replication
from makoredis.server.latencies import percentile
from makoredis.server.memory import STARTUP_BYTES, resident_bytes
from makoredis.version import VERSION

if TYPE_CHECKING:
    from makoredis.server.server import Server

Lines = dict[str, object]


def human_bytes(size: float) -> str:
    """1536 → `1.50K`, as Redis writes sizes."""
    if size < 1024:
        return f"{int(size)}B"
    for unit in "KMGTP":
        size /= 1024
        if size < 1024 or unit == "P":
            return f"{size:.2f}{unit}"
    raise AssertionError("unreachable")


def _server(server: "Server") -> Lines:
    uptime = int(server.now - server.started)
    return {
        "redis_version": server.config.redis_version,
        "redis_git_sha1": "00000000",
        "redis_git_dirty": 0,
        "redis_build_id": "0",
        "redis_mode": "cluster" if server.node.is_replicated else "standalone",
        "makoredis_version": VERSION,
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "arch_bits": 64 if sys.maxsize > 2**32 else 32,
        "monotonic_clock": "POSIX clock_gettime",
        "multiplexing_api": "epoll",
        "atomicvar_api": "gil",
        "gcc_version": "0.0.0",
        "python_version": platform.python_version(),
        "process_id": os.getpid(),
        "process_supervised": "no",
        "run_id": server.run_id,
        "tcp_port": server.config.port,
        "server_time_usec": server.wall_us,
        "uptime_in_seconds": uptime,
        "uptime_in_days": uptime // 86400,
        "hz": server.config.table["hz"],
        "configured_hz": server.config.table["hz"],
        "lru_clock": int(server.now) & 0xFFFFFF,
        "executable": sys.executable,
        "config_file": os.path.abspath(server.config.file) if server.config.file else "",
        "io_threads_active": 0,
    }


def _clients(server: "Server") -> Lines:
    sessions = server.by_id.values()
    return {
        "connected_clients": len(server.by_id),
        "cluster_connections": 0,
        "maxclients": server.config.maxclients,
        "client_recent_max_input_buffer": max((each.parser.held_bytes for each in sessions), default=0),
        "client_recent_max_output_buffer": max((each.output_bytes() for each in sessions), default=0),
        "blocked_clients": server.blocking.count + server.pause.count() + _waiting_for_shards(server),
        "tracking_clients": sum(each.tracking is not None for each in sessions),
        "clients_in_timeout_table": 0,
        "total_blocking_keys": len(server.blocking.queues),
        "total_blocking_keys_on_nokey": server.blocking.keys_without_value(),
    }


def _waiting_for_shards(server: "Server") -> int:
    """Clients that wait for keys, where there are several shards."""
    return 0 if server.router is None else len(server.router.waiting.waiters)


def _memory(server: "Server") -> Lines:
    used, resident = server.memory.used(), resident_bytes()
    peak = server.memory.peak
    dataset = used - STARTUP_BYTES
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = server.config.maxmemory_bytes
    lines: Lines = {
        "used_memory": used,
        "used_memory_human": human_bytes(used),
        "used_memory_rss": resident,
        "used_memory_rss_human": human_bytes(resident),
        "used_memory_peak": peak,
        "used_memory_peak_human": human_bytes(peak),
        "used_memory_peak_perc": f"{100 * used / peak:.2f}%",
        "used_memory_overhead": STARTUP_BYTES,
        "used_memory_startup": STARTUP_BYTES,
        "used_memory_dataset": dataset,
        "used_memory_dataset_perc": f"{100 * dataset / used:.2f}%",
        "interpreter_memory": server.memory.interpreter_bytes,
        "total_system_memory": total,
        "total_system_memory_human": human_bytes(total),
        "maxmemory": limit,
        "maxmemory_human": human_bytes(limit),
        "maxmemory_policy": server.config.table["maxmemory-policy"],
        "mem_fragmentation_ratio": f"{resident / used:.2f}",
        "mem_allocator": "python",
        "active_defrag_running": 0,
        "lazyfree_pending_objects": 0,
        "lazyfreed_objects": 0,
        "mem_total_replication_buffers": 0,
        "mem_clients_slaves": 0,
        "mem_clients_normal": sum(each.output_bytes() for each in server.by_id.values()),
        "mem_cluster_links": 0,
        "mem_aof_buffer": server.node.disk.queued_bytes,
        "mem_replication_backlog": 0,
        "mem_not_counted_for_evict": server.node.memory_beside_data(),
        "mem_fragmentation_bytes": resident - used,
        "allocator_allocated": used,
        "allocator_active": used,
        "allocator_resident": used,
        "allocator_frag_ratio": "1.00",
        "allocator_frag_bytes": 0,
        "allocator_rss_ratio": "1.00",
        "allocator_rss_bytes": 0,
        "rss_overhead_ratio": f"{resident / used:.2f}",
        "rss_overhead_bytes": resident - used,
    }
    scripts = server.script_memory()
    lines.update(scripts)
    lines.update(_script_memory_as_shown(scripts))
    return lines


def _script_memory_as_shown(known: Lines) -> Lines:
    """The further names that Redis has for it: one interpreter runs scripts and functions, and keeps their text too."""
    used = cast(int, known["used_memory_vm_eval"])
    return {
        "used_memory_lua_human": human_bytes(used),
        "used_memory_vm_functions": 0,
        "used_memory_vm_total": used,
        "used_memory_vm_total_human": human_bytes(used),
        "used_memory_scripts_eval": 0,
        "used_memory_functions": 0,
        "used_memory_scripts": 0,
        "used_memory_scripts_human": human_bytes(0),
    }


def _persistence(server: "Server") -> Lines:
    node = server.node
    checkpointers = node.keepers.checkpointers()
    is_running = int(any(checkpointer.is_running for checkpointer in checkpointers))
    last_seconds = [each.last_duration_seconds for each in checkpointers if each.last_success_at]
    failed = node.full_disk.refusal is not None
    return {
        "loading": 0,
        "async_loading": 0,
        "current_cow_peak": 0,
        "current_cow_size": 0,
        "current_cow_size_age": 0,
        "current_fork_perc": "0.00",
        "current_save_keys_processed": 0,
        "current_save_keys_total": 0,
        "rdb_changes_since_last_save": server.changes_since_save(),
        "rdb_bgsave_in_progress": is_running,
        "rdb_last_save_time": int(node.keepers.finished_at() or server.started),
        "rdb_last_bgsave_status": "ok",
        "rdb_last_bgsave_time_sec": int(max(last_seconds, default=-1)),
        "rdb_current_bgsave_time_sec": -1,
        "rdb_saves": node.keepers.count(),
        "rdb_last_cow_size": 0,
        "rdb_last_load_keys_expired": 0,
        "rdb_last_load_keys_loaded": server.keys_loaded,
        "aof_enabled": int(node.durability.value != "memory"),
        "aof_rewrite_in_progress": is_running,
        "aof_rewrite_scheduled": int(any(checkpointer.is_requested for checkpointer in checkpointers)),
        "aof_last_rewrite_time_sec": -1,
        "aof_current_rewrite_time_sec": -1,
        "aof_last_bgrewrite_status": "ok",
        "aof_last_write_status": "err" if failed else "ok",
        "aof_last_cow_size": 0,
        "aof_rewrites": 0,
        "aof_rewrites_consecutive_failures": 0,
        "module_fork_in_progress": 0,
        "module_fork_last_cow_size": 0,
        "durability": node.durability.value,
        "disk_queue_bytes": node.disk.queued_bytes,
        "disk_writes": node.disk.write_count,
        "disk_last_write_usec": int(node.disk.last_write_seconds * 1_000_000),
        "disk_free_bytes": node.store.space.free_bytes(),
    }


def _hits_and_misses(server: "Server") -> tuple[int, int]:
    """Per reading command, where Redis counts per key: whether it found nothing (its reply was null)."""
    routes = [route for route in server.routes.by_name.values() if route.reads]
    misses = sum(route.missed for route in routes)
    return sum(route.calls - route.failed for route in routes) - misses, misses


def _stats(server: "Server") -> Lines:
    stats, eviction = server.stats, server.eviction
    exceeding = eviction.exceeding_seconds()
    hits, misses = _hits_and_misses(server)
    ops, input_kbps, output_kbps = server.rates.per_second()
    return {
        "total_connections_received": stats.connections_received,
        "total_commands_processed": server.commands_processed(),
        "instantaneous_ops_per_sec": int(ops),
        "total_net_input_bytes": stats.input_bytes,
        "total_net_output_bytes": stats.output_bytes,
        "total_net_repl_input_bytes": 0,
        "total_net_repl_output_bytes": 0,
        "instantaneous_input_kbps": f"{input_kbps:.2f}",
        "instantaneous_output_kbps": f"{output_kbps:.2f}",
        "instantaneous_input_repl_kbps": "0.00",
        "instantaneous_output_repl_kbps": "0.00",
        "rejected_connections": stats.rejected_connections,
        "sync_full": 0,
        "sync_partial_ok": 0,
        "sync_partial_err": 0,
        "expired_keys": sum(space.expired_count for space in server.node.spaces()),
        "expired_stale_perc": "0.00",
        "expired_time_cap_reached_count": 0,
        "expire_cycle_cpu_milliseconds": 0,
        "evicted_keys": eviction.evicted_count,
        "evicted_clients": 0,
        "total_eviction_exceeded_time": int(1000 * (eviction.exceeded_seconds + exceeding)),
        "current_eviction_exceeded_time": int(1000 * exceeding),
        "keyspace_hits": hits,
        "keyspace_misses": misses,
        "pubsub_channels": len(server.pubsub.channels),
        "pubsub_patterns": len(server.pubsub.patterns),
        "pubsubshard_channels": len(server.pubsub.shard_channels),
        "latest_fork_usec": 0,
        "total_forks": 0,
        "migrate_cached_sockets": 0,
        "slave_expires_tracked_keys": 0,
        "active_defrag_hits": 0,
        "active_defrag_misses": 0,
        "active_defrag_key_hits": 0,
        "active_defrag_key_misses": 0,
        "total_active_defrag_time": 0,
        "current_active_defrag_time": 0,
        "tracking_total_keys": server.tracking_counts()[0],
        "tracking_total_items": server.tracking_counts()[1],
        "tracking_total_prefixes": server.tracking_counts()[2],
        "unexpected_error_replies": 0,
        "total_error_replies": sum(stats.errors.values()),
        "dump_payload_sanitizations": 0,
        "total_reads_processed": stats.turns,
        "total_writes_processed": stats.turns,
        "io_threaded_reads_processed": 0,
        "io_threaded_writes_processed": 0,
        "reply_buffer_shrinks": 0,
        "reply_buffer_expands": 0,
        "turns": stats.turns,
    }


def _cpu(server: "Server") -> Lines:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    main = resource.getrusage(resource.RUSAGE_THREAD)
    return {
        "used_cpu_sys": f"{own.ru_stime:.6f}",
        "used_cpu_user": f"{own.ru_utime:.6f}",
        "used_cpu_sys_children": f"{children.ru_stime:.6f}",
        "used_cpu_user_children": f"{children.ru_utime:.6f}",
        "used_cpu_sys_main_thread": f"{main.ru_stime:.6f}",
        "used_cpu_user_main_thread": f"{main.ru_utime:.6f}",
    }


def _modules(server: "Server") -> Lines:
    return {}


def _commandstats(server: "Server") -> Lines:
    lines: Lines = {}
    for route in server.routes.by_name.values():
        if route.calls or route.rejected or route.failed:
            each = route.seconds * 1e6 / route.calls if route.calls else 0.0
            lines[f"cmdstat_{route.name.lower()}"] = (
                f"calls={route.calls},usec={int(route.seconds * 1e6)},usec_per_call={each:.2f},"
                f"rejected_calls={route.rejected},failed_calls={route.failed}"
            )
    return lines


def _errorstats(server: "Server") -> Lines:
    return {f"errorstat_{code}": f"count={count}" for code, count in server.stats.errors.items()}


def _latencystats(server: "Server") -> Lines:
    lines: Lines = {}
    table = server.config.table
    if table["latency-tracking"] == "yes":
        percents = [(word, float(word)) for word in table["latency-tracking-info-percentiles"].split()]
        for route in server.routes.by_name.values():
            if any(route.latencies):
                values = [f"p{word}={percentile(route.latencies, percent):.3f}" for word, percent in percents]
                lines[f"latency_percentiles_usec_{route.name.lower()}"] = ",".join(values)
    return lines


def _cluster(server: "Server") -> Lines:
    return {"cluster_enabled": int(server.node.is_replicated)}


def _keyspace(server: "Server") -> Lines:
    lines: Lines = {}
    for number in range(len(server.node.host.space.databases)):
        databases = [space.databases[number] for space in server.node.spaces()]
        size = sum(database.size for database in databases)
        if size:
            expires = sum(len(database.expires) for database in databases)
            lines[f"db{number}"] = f"keys={size},expires={expires},avg_ttl={_average_ttl(databases)}"
    return lines


def _average_ttl(databases: list[Database]) -> int:
    """Over the first hundred deadlines: an estimate, as Redis's is."""
    deadlines = chain(*(database.expires.values() for database in databases))
    sample = list(islice(deadlines, 100))
    return max(0, sum(sample) // len(sample) - int(time.time() * 1000)) if sample else 0


_SECTIONS: dict[str, tuple[str, Callable[["Server"], Lines]]] = {
    "server": ("Server", _server),
    "clients": ("Clients", _clients),
    "memory": ("Memory", _memory),
    "persistence": ("Persistence", _persistence),
    "stats": ("Stats", _stats),
    "replication": ("Replication", replication),
    "raft": ("Raft", raft),
    "mako": ("Mako", mako),
    "cpu": ("CPU", _cpu),
    "modules": ("Modules", _modules),
    "commandstats": ("Commandstats", _commandstats),
    "errorstats": ("Errorstats", _errorstats),
    "latencystats": ("Latencystats", _latencystats),
    "cluster": ("Cluster", _cluster),
    "keyspace": ("Keyspace", _keyspace),
}
_NOT_BY_DEFAULT = ("commandstats", "latencystats")


def info_text(server: "Server", names: list[str]) -> str:
    """The text of INFO for these sections; none = the default ones. Unknown sections are left out."""
    wanted: set[str] = set()
    for name in names or ["default"]:
        if name in ("all", "everything"):
            wanted.update(_SECTIONS)
        elif name == "default":
            wanted.update(section for section in _SECTIONS if section not in _NOT_BY_DEFAULT)
        else:
            wanted.add(name)
    parts = []
    for section, (title, lines) in _SECTIONS.items():
        if section in wanted:
            body = "".join(f"{name}:{value}\r\n" for name, value in lines(server).items())
            parts.append(f"# {title}\r\n{body}")
    return "\r\n".join(parts)
