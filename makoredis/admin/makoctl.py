"""makoctl: looks at a cluster and changes its members, over the port that clients use.

Every command is a `MAKO …` command; what this adds is patience (a change that cannot begin now is tried again, and one
that was accepted is waited for), tables for people and `--json` for scripts. Any node of the cluster will do.

Exit status: 0 done, 1 refused or failed, 2 the command line is wrong, 3 accepted but not done within `--timeout`.
"""

import argparse
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from makoredis.admin import backup_tool, resharding
from makoredis.admin.options import parse
from makoredis.admin.wire import Address, Refused
from resp.decode import ReplyError, ReplyParser
from resp.encode import encode_command
from resp.replies import Error, Map, Simple

RETRY_SECONDS = 0.2
NOTICE_SECONDS = 4.0
"""After so long whoever waits is told what for."""
READ_BYTES = 64 * 1024
LEADER_SECONDS = 3.0
"""For the leader of a shard to say how its shard is."""
NO_PASSWORD = "the nodes ask for a password: set MAKOREDIS_PASSWORD, and --user if it is not the default one's"
_ON_MEMBERS = ("remove", "drain", "undrain", "transfer")
_ON_FILES = ("backup", "check", "restore")
_RETRIED = (b"TRYAGAIN", b"CLUSTERDOWN")

Status = dict[str, Any]


class Failure(Exception):
    """One line for people. `status` is the exit status."""

    status = 1


class NotYet(Failure):
    """A change was accepted and goes on, but takes longer than one was willing to wait."""

    status = 3


class Client:
    """A connection to one node, made anew when it breaks."""

    def __init__(self, address: Address, seconds: float) -> None:
        self.address = address
        self.began = time.monotonic()
        self.deadline = self.began + seconds
        self.has_told = False
        self._sock: socket.socket | None = None
        self._parser = ReplyParser()

    def call(self, *words: str) -> Any:
        """The reply to a command; sent again while the cluster says that it cannot take it now.

        Raises: Failure for an error, or when the time is over.
        """
        while True:
            try:
                reply = self._ask(words)
            except TimeoutError:
                self.close()
                reason = "no answer in time (`makoctl status` says whether there is a leader)"
            except OSError as error:
                self.close()
                reason = error.strerror or str(error)
            else:
                if not isinstance(reply, Error):
                    return plain(reply)
                reason = reply.text.decode(errors="replace")
                if not reply.text.startswith(_RETRIED):
                    raise Failure(reason)
            if time.monotonic() > self.deadline:
                raise Failure(f"{self.address.host}:{self.address.port}: {reason}")
            self._tell(reason)
            time.sleep(RETRY_SECONDS)

    def _patience(self) -> float:
        """Seconds to wait for the network before something is said."""
        return max(0.1, min(NOTICE_SECONDS, self.deadline - time.monotonic()))

    def _tell(self, reason: str) -> None:
        """Says once, on stderr, what is waited for, if it takes long."""
        now = time.monotonic()
        if not self.has_told and now - self.began >= NOTICE_SECONDS:
            self.has_told = True
            limit = f"waiting for up to {self.deadline - now:.0f} s (--timeout)"
            print(f"makoctl: {self.address.host}:{self.address.port}: {reason}; {limit}", file=sys.stderr, flush=True)

    def wait(self, condition: Callable[[Status], bool], what: str) -> Status:
        """The status once a condition holds.

        Raises: NotYet when the time is over.
        """
        return self.wait_for(lambda: self.call("MAKO", "STATUS"), condition, what)

    def wait_for(self, look: Callable[[], Status], condition: Callable[[Status], bool], what: str) -> Status:
        """What is seen once a condition holds.

        Raises: NotYet when the time is over.
        """
        while True:
            status = look()
            if condition(status):
                return status
            if time.monotonic() > self.deadline:
                raise NotYet(f"the change is accepted and goes on, but is not done yet: {what}")
            time.sleep(RETRY_SECONDS)

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _ask(self, words: tuple[str, ...]) -> Any:
        if self._sock is None:
            self._connect()
        return self._exchange(words)

    def _connect(self) -> None:
        address = self.address
        try:
            self._sock = socket.create_connection((address.host, address.port), self._patience())
        except UnicodeError:
            raise Failure(f"'{address.host}' is not the name of a host") from None
        self._parser = ReplyParser()
        hello = ("HELLO", "3", "AUTH", address.user, address.password) if address.logs_in else ("HELLO", "3")
        reply = self._exchange(hello)
        if isinstance(reply, Error):
            text = reply.text.decode(errors="replace")
            raise Failure(f"NOAUTH {NO_PASSWORD}" if text.startswith("NOAUTH") else text)

    def _exchange(self, words: tuple[str, ...]) -> Any:
        assert self._sock is not None
        self._sock.settimeout(self._patience())
        self._sock.sendall(encode_command([word.encode() for word in words]))
        while True:
            try:
                data = self._sock.recv(READ_BYTES)
            except TimeoutError:
                if time.monotonic() >= self.deadline:
                    raise
                self._tell("no answer yet")
                self._sock.settimeout(self._patience())
                continue
            if not data:
                raise ConnectionError("the node closed the connection")
            try:
                replies = self._parser.parse(data)
            except ReplyError as error:
                raise Failure(f"this is no makoredis: {error}") from None
            if replies:
                return replies[0]


def plain(reply: Any) -> Any:
    """A reply as JSON can say it."""
    if isinstance(reply, Map):
        return {str(plain(key)): plain(value) for key, value in reply.pairs}
    if isinstance(reply, Simple):
        return reply.text.decode()
    if isinstance(reply, bytes):
        return reply.decode(errors="replace")
    if isinstance(reply, list):
        return [plain(item) for item in reply]
    return reply


# -- commands


def run(client: Client, options: argparse.Namespace) -> Any:
    """Does what the command line says. Returns what is to be shown."""
    command: str = options.command
    if command == "status":
        return with_leaders_view(client, client.call("MAKO", "STATUS"))
    if command == "each":
        return _each(client, options)
    if command in resharding.COMMANDS:
        return resharding.run(client, options)
    before: Status = client.call("MAKO", "STATUS")
    _check_members(options, before)
    words = [command.upper(), *_arguments(options)]
    answer = client.call("MAKO", *words)
    if command == "snapshot" or options.no_wait:
        return answer
    condition, what = _goal(options, before)
    return with_leaders_view(client, client.wait(condition, what))


def _check_members(options: argparse.Namespace, before: Status) -> None:
    """Raises: Failure for a node that the leader does not know, which is a slip rather than a change that was made."""
    known = members(before)
    if options.command in _ON_MEMBERS and before["leader"] == before["answered_by"] and options.id not in known:
        shown = ", ".join(map(str, sorted(known)))
        raise Failure(f"node {options.id} is not a member of cluster {before['cluster']}, which has {shown}")


def with_leaders_view(client: Client, status: Status) -> Status:
    """A status in which each of several shards is described by its leader, which alone knows how far the others are.

    A leader that does not answer in time leaves the shard as it was.
    """
    addresses = {node["id"]: node["client_address"] for node in status["nodes"]}
    seen: dict[int, Status] = {}
    for shard in status["shards"]:
        leader = shard["leader"]
        if leader not in seen and leader != shard["answered_by"] and addresses.get(leader) is not None:
            try:
                seen[leader] = _on_node(client, addresses[leader], LEADER_SECONDS, "MAKO", "STATUS", "LOCAL")
            except Failure:
                seen[leader] = {"shards": []}
    better = {
        each["id"]: each
        for other in seen.values()
        for each in other["shards"]
        if each["leader"] == other["answered_by"]
    }
    return {**status, "shards": [better.get(shard["id"], shard) for shard in status["shards"]]}


def _on_node(client: Client, address: str, seconds: float, *words: str) -> Any:
    """What one node of the cluster answers, as the same user. Raises: Failure."""
    host, _, port = address.rpartition(":")
    other = Client(Address(host, int(port), client.address.user, client.address.password), seconds)
    try:
        return other.call(*words)
    finally:
        other.close()


def _each(client: Client, options: argparse.Namespace) -> Any:
    """Sends a command to every member, and returns the answers, and the errors of those that refuse, by node."""
    answers, errors = {}, {}
    for node in client.call("MAKO", "STATUS")["nodes"]:
        name, address = str(node["id"]), node["client_address"]
        if address is None:
            errors[name] = "where it listens for clients is not known; is it running?"
            continue
        try:
            answers[name] = _on_node(client, address, options.timeout, *options.words)
        except Failure as failure:
            errors[name] = str(failure)
    text = "\n".join(f"{node}: {answer}" for node, answer in answers.items())
    return {"answers": answers, "errors": errors, "text": text}


def _arguments(options: argparse.Namespace) -> list[str]:
    if options.command == "add":
        return [str(options.id), options.address]
    if options.command == "replace":
        return list(options.words)
    if options.command in ("snapshot", "spread"):
        return []
    if options.command == "transfer" and options.shard is not None:
        return [str(options.id), "SHARD", options.shard]
    return [str(options.id)]


def _goal(options: argparse.Namespace, before: Status) -> tuple[Callable[[Status], bool], str]:
    """When a change is done, and the same in words."""
    command = options.command
    if command == "replace":
        old = {int(word) for word in options.words if "=" not in word}
        new = {int(word.partition("=")[0]) for word in options.words if "=" in word}
        return lambda status: new <= voters(status) and not old & members(status), f"{sorted(new)} are to be voters"
    if command == "spread":
        return is_spread, "the shards are to be led by different nodes"
    node: int = options.id
    if command == "add":
        return lambda status: node in voters(status) and not status["is_changing"], f"node {node} is to be a voter"
    if command == "remove":
        return lambda status: node not in members(status) and not status["is_changing"], f"node {node} is to be gone"
    if command == "transfer" and options.shard is not None:
        shards = {options.shard, *(str(shard["id"]) for shard in before["shards"] if options.shard.lower() == "all")}
        return lambda status: _leads_all(status, node, shards), f"node {node} is to lead shard {options.shard}"
    if command == "transfer":
        return lambda status: status["leader"] == node, f"node {node} is to lead"
    if command == "drain":
        return lambda status: _leads_nothing(status, node), f"other nodes than {node} are to lead"
    return lambda status: True, ""


def _leads_all(status: Status, node: int, shards: set[str]) -> bool:
    return all(shard["leader"] == node for shard in status["shards"] if str(shard["id"]) in shards)


def _leads_nothing(status: Status, node: int) -> bool:
    leaders = [status["leader"], *(shard["leader"] for shard in status["shards"])]
    return None not in leaders and node not in leaders


def is_spread(status: Status) -> bool:
    """Whether no node that may lead leads two shards more than another one."""
    able = [node["id"] for node in status["nodes"] if node["role"] in ("leader", "voter") and not node["drained"]]
    leaders = [shard["leader"] for shard in status["shards"]]
    counts = [leaders.count(node) for node in able]
    return None not in leaders and max(counts) - min(counts) <= 1


def members(status: Status) -> set[int]:
    """Ids of all members."""
    return {node["id"] for node in status["nodes"]}


def voters(status: Status) -> set[int]:
    """Ids of those who vote for good."""
    return {node["id"] for node in status["nodes"] if node["role"] in ("leader", "voter", "witness")}


# -- output


def table(status: Status) -> str:
    """The status for people."""
    rows = [("NODE", "ROLE", "CLIENTS", "PEERS", "LIVE", "STATE", "INDEX", "LAG")]
    for node in status["nodes"]:
        role = node["role"] + (" (drained)" if node["drained"] else "")
        live = {None: "?", 0: "no", 1: "yes"}[node["live"]]
        if node["clock_refused"]:
            live = f"no: its clock is {node['clock_offset_us'] // 1000} ms ahead"
        shown = (node["client_address"], node["peer_address"], live, node["state"], node["match_index"], node["lag"])
        rows.append((str(node["id"]), role, *("?" if value is None else str(value) for value in shown)))
    lines = _aligned(rows)
    if status["shards"]:
        lines += ["", *_shard_lines(status)]
    goal = f", on the way to voters {status['goal']}" if status["goal"] else ""
    leader = "no leader" if status["leader"] is None else f"leader {status['leader']}"
    title = f"cluster {status['cluster']}: {leader}, term {status['term']}, chosen up to {status['commit_index']}{goal}"
    return "\n".join([title, "", *lines])


def _shard_lines(status: Status) -> list[str]:
    """A line per shard. FINAL: how old what is final is; LAG: entries that each other member misses (? = not known)."""
    rows: list[tuple[str, ...]] = [("SHARD", "SLOTS", "LEADER", "TERM", "INDEX", "APPLIED", "FINAL", "MEMBERS", "LAG")]
    for shard in status["shards"]:
        leader = "none" if shard["leader"] is None else str(shard["leader"])
        pinned = " (pinned)" if shard["pinned"] is not None else ""
        final = "?" if shard["watermark_lag_us"] is None else f"{shard['watermark_lag_us'] // 1000} ms ago"
        replicas = [_replica_text(replica) for replica in shard["replicas"]]
        lags = [_lag_text(replica) for replica in shard["replicas"] if replica["node"] != shard["leader"]]
        rows.append(
            (
                str(shard["id"]),
                _runs_text(shard["slots"]),
                leader + pinned,
                *(str(shard[name]) for name in ("term", "commit_index", "applied_index")),
                final,
                " ".join(replicas),
                " ".join(lags),
            )
        )
    return _aligned(rows)


def _runs_text(bounds: list[int]) -> str:
    return ",".join(f"{first}-{last}" for first, last in zip(bounds[::2], bounds[1::2])) or "none"


def _replica_text(replica: Status) -> str:
    marks = {"learner": "+", "leaving": "-", "witness": "w"}
    return f"{replica['node']}{marks.get(replica['role'], '')}"


def _lag_text(replica: Status) -> str:
    lag = "?" if replica["lag"] is None else str(replica["lag"])
    return f"{replica['node']}:{'down' if replica['live'] == 0 else lag}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def main(arguments: list[str] | None = None) -> int:
    """Runs what the command line says. Returns the exit status."""
    options = parse(arguments)
    address = Address(options.host, options.port, options.user or "default", options.password or "")
    client = Client(address, options.timeout)
    try:
        result = _files(address, options) if options.command in _ON_FILES else run(client, options)
        return _show(result, as_json=options.json)
    except (Failure, backup_tool.Failed, Refused) as failure:
        return _fail(str(failure), failure.status if isinstance(failure, Failure) else 1, as_json=options.json)
    except BrokenPipeError:
        # Whoever read this has enough; what is still to be written at the end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = error.filename or getattr(options, "file", options.command)
        return _fail(f"{place}: {error.strerror or error}", 1, as_json=options.json)
    except KeyboardInterrupt:
        text = "interrupted; a change that was accepted goes on"
        return _fail(text, 128 + signal.SIGINT, as_json=options.json)
    finally:
        client.close()


def _show(result: Any, *, as_json: bool) -> int:
    """Prints what came out. Returns the exit status."""
    if as_json:
        print(json.dumps(result), flush=True)
    elif isinstance(result, dict):
        print(result["text"] if "text" in result else table(result), flush=True)
    else:
        print(result, flush=True)
    errors: dict[str, str] = result.get("errors", {}) if isinstance(result, dict) else {}
    for node, text in errors.items():
        print(f"makoctl: node {node}: {text}", file=sys.stderr)
    return 1 if errors else 0


def _fail(text: str, status: int, *, as_json: bool) -> int:
    """One line on stderr; scripts get an object as well."""
    if as_json:
        print(json.dumps({"error": text, "status": status}), flush=True)
    print(f"makoctl: {text}", file=sys.stderr)
    return status


def _files(address: Address, options: argparse.Namespace) -> Status:
    """What has to do with a backup's file. Raises: Failed, Refused, OSError."""
    path = Path(options.file)
    if options.command == "backup":
        return backup_tool.save(address, path, options.timeout)
    if options.command == "check":
        return backup_tool.check(path)
    return backup_tool.restore(address, path, replaces=options.replace)


if __name__ == "__main__":
    sys.exit(main())
