"""Users across the life of a server: the file of users, the log of refusals, `requirepass`."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.server_process import ServerProcess

ServerFactory = Callable[..., ServerProcess]
RULES = "user default on nopass ~* &* +@all\nuser alice on ~* &* +@all #{}\n".format(
    "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90"  # alice
)


def with_file(new_server: ServerFactory, rules: str) -> ServerProcess:
    server = new_server(parameters={"aclfile": "users.acl"})
    (server.folder / "users.acl").write_text(rules, encoding="utf-8")
    return server


def test_users_are_loaded_saved_and_loaded_again(new_server: ServerFactory) -> None:
    server = with_file(new_server, RULES).start()
    alice = server.client(username="alice", password="alice")
    other = server.client()
    assert alice.execute_command("ACL", "WHOAMI") == b"alice"
    other.execute_command("ACL", "SETUSER", "eve", "on", "nopass", "+get", "~k*", "(+set ~w)")
    assert other.execute_command("ACL", "SAVE")
    assert alice.execute_command("ACL", "LOAD"), "the one who asks gets the answer, then is disconnected"
    with pytest.raises(redis.ConnectionError):
        alice.ping()
    assert other.ping(), "the default user is changed, not replaced"
    assert server.stop() == 0
    server.start()
    with server.client(username="eve", password="any") as eve:
        assert eve.get("k1") is None
        assert eve.set("w", 1)
        with pytest.raises(redis.exceptions.NoPermissionError):
            eve.get("w")


def test_a_bad_file_changes_nothing(new_server: ServerFactory) -> None:
    server = with_file(new_server, RULES).start()
    client = server.client()
    (server.folder / "users.acl").write_text(RULES + "user alice on\n", encoding="utf-8")
    with pytest.raises(redis.ResponseError, match="Duplicate user 'alice' found on line 3"):
        client.execute_command("ACL", "LOAD")
    assert client.execute_command("ACL", "USERS") == [b"alice", b"default"]
    server.stop()
    assert "Duplicate user 'alice'" in server.start_refused()


def test_a_missing_file_is_not_ignored(new_server: ServerFactory) -> None:
    server = new_server(parameters={"aclfile": "nowhere.acl"})
    assert "nowhere.acl" in server.start_refused()


def test_requirepass_is_the_default_users_password(new_server: ServerFactory) -> None:
    server = new_server(parameters={"requirepass": "secret"}).start()
    with pytest.raises(redis.AuthenticationError):
        server.client().ping()
    client = server.client(password="secret")
    assert client.config_get("requirepass") == {"requirepass": "secret"}
    client.config_set("requirepass", "")
    assert server.client().ping()
    client.config_set("requirepass", "other")
    assert client.ping(), "who is logged in stays so"
    with pytest.raises(redis.AuthenticationError):
        server.client(password="secret").ping()
    assert server.client(password="other").ping()


def test_the_log_counts_refusals(makoredis_server: ServerProcess) -> None:
    admin = makoredis_server.client(decode_responses=True)
    admin.execute_command("ACL", "LOG", "RESET")
    admin.execute_command("ACL", "SETUSER", "bob", "reset", "on", ">pw", "+set", "+multi", "+exec", "+publish", "~k")
    bob = makoredis_server.client(username="bob", password="pw", protocol=2, lib_name=None, lib_version=None)
    try:
        for _ in range(3):
            with pytest.raises(redis.exceptions.NoPermissionError):
                bob.get("k")
        for request in (("SET", "other", 1), ("PUBLISH", "news", 1)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                bob.execute_command(*request)
        bob.execute_command("MULTI")
        with pytest.raises(redis.exceptions.NoPermissionError):
            bob.execute_command("INCR", "k")
        with pytest.raises(redis.AuthenticationError):
            makoredis_server.client(username="bob", password="wrong", protocol=2).ping()
        entries = admin.execute_command("ACL", "LOG")
        shown = [(e["count"], e["reason"], e["context"], e["object"], e["username"]) for e in entries]
        assert shown == [
            (1, "auth", "toplevel", "AUTH", "bob"),
            (1, "command", "multi", "incr", "bob"),
            (1, "channel", "toplevel", "news", "bob"),
            (1, "key", "toplevel", "other", "bob"),
            (3, "command", "toplevel", "get", "bob"),
        ]
        assert 0 <= float(entries[0]["age-seconds"]) < 60
        assert [entry["entry-id"] - entries[4]["entry-id"] for entry in entries] == [4, 3, 2, 1, 0]
        for entry in entries:
            assert abs(entry["timestamp-last-updated"] / 1000 - time.time()) < 60
            assert entry["timestamp-last-updated"] >= entry["timestamp-created"]
            assert entry["timestamp-last-updated"] == entry["timestamp-created"] or entry["count"] > 1
        admin.config_set("acllog-max-len", 2)
        with pytest.raises(redis.exceptions.NoPermissionError):
            bob.execute_command("SET", "third", 1)
        assert len(admin.execute_command("ACL", "LOG", 10)) == 2
    finally:
        admin.config_set("acllog-max-len", 128)
        admin.execute_command("ACL", "DELUSER", "bob")


def test_clients_can_be_killed_by_user(makoredis_server: ServerProcess) -> None:
    admin = makoredis_server.client()
    admin.execute_command("ACL", "SETUSER", "bob", "on", "nopass", "+@all", "~*")
    bob = makoredis_server.client(username="bob", password="x")
    assert bob.ping()
    assert "bob" in {client["user"] for client in admin.client_list()}
    assert admin.execute_command("CLIENT", "KILL", "USER", "bob") == 1
    with pytest.raises(redis.ConnectionError):
        bob.ping()
    admin.execute_command("ACL", "DELUSER", "bob")


def test_a_path_for_the_file_may_be_absolute(new_server: ServerFactory, tmp_path: Path) -> None:
    path = tmp_path / "users.acl"
    path.write_text(RULES, encoding="utf-8")
    server = new_server(parameters={"aclfile": path}).start()
    assert server.client(username="alice", password="alice").ping()
