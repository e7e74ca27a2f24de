"""Clients that are too many, too slow, too idle, or gone: none of them harms the server or another client."""

import resource
import socket
import time
from collections.abc import Callable

import pytest
import redis

from tests.conftest import ServerFactory
from tests.server_process import ServerProcess
from tools.ports import free_ports

MIB = 1 << 20
DEADLINE_S = 60


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def others(client: "redis.Redis[bytes]") -> int:
    """Clients beside this one."""
    return int(client.info("clients")["connected_clients"]) - 1


def is_closed(connection: socket.socket) -> bool:
    """Reads until the end."""
    try:
        while connection.recv(1 << 20):
            continue
    except ConnectionResetError:
        return True
    return True


def test_one_client_too_many_is_told_so(new_server: ServerFactory) -> None:
    server = new_server(parameters={"maxclients": 5}).start()
    connections = [server.connect() for _ in range(5)]
    for connection in connections:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100) == b"+PONG\r\n"
    with server.connect() as refused:
        assert refused.recv(1000) == b"-ERR max number of clients reached\r\n"
        assert refused.recv(1000) == b""
    connections.pop().close()
    wait_for(lambda: _does(lambda: server.client().ping()), "a place that is free again is not given away")
    for connection in connections:
        connection.close()


def _does(request: Callable[[], object]) -> bool:
    """False if the server hangs up instead."""
    try:
        return bool(request())
    except redis.ConnectionError:
        return False


def test_idle_clients_are_closed_and_waiting_ones_are_not(new_server: ServerFactory) -> None:
    server = new_server().start()
    blocked, subscribed = server.connect(60), server.connect(60)
    blocked.sendall(b"BLPOP nothing 0\r\n")
    subscribed.sendall(b"SUBSCRIBE c\r\n")
    assert subscribed.recv(100)
    wait_for(lambda: server.client().info("clients")["blocked_clients"] == 1, "it does not block")
    idle = server.connect(60)
    server.client().config_set("timeout", 1)
    assert idle.recv(100) == b""
    wait_for(lambda: _does(lambda: server.client().config_set("timeout", 0)), "nothing is answered any more")
    client = server.client()
    client.rpush("nothing", "x")
    assert b"nothing" in blocked.recv(100)
    client.publish("c", "hello")
    assert b"hello" in subscribed.recv(100)


def test_a_subscriber_that_does_not_read_is_closed(new_server: ServerFactory) -> None:
    server = new_server(parameters={"client-output-buffer-limit": "pubsub 4mb 0 0"}).start()
    subscriber, client = server.connect(), server.client()
    subscriber.sendall(b"SUBSCRIBE c\r\n")
    assert subscriber.recv(100)
    wait_for(lambda: client.publish("c", b"x" * MIB) == 0, "it is never closed")
    assert is_closed(subscriber)


def test_the_soft_limit_closes_after_a_while(new_server: ServerFactory) -> None:
    server = new_server(parameters={"client-output-buffer-limit": "normal 0 1mb 1"}).start()
    client = server.client()
    client.set("big", b"x" * 16 * MIB)
    with server.connect() as slow:
        slow.sendall(b"GET big\r\n")
        wait_for(lambda: others(client) == 0, "it is never closed")


def test_a_client_that_does_not_read_does_not_grow_the_server(new_server: ServerFactory) -> None:
    server = new_server(durability="memory").start()
    client = server.client()
    client.set("big", b"x" * 4 * MIB)
    before = server.memory_bytes()
    with server.connect() as greedy:
        greedy.sendall(b"GET big\r\n" * 5000)  # 20 GiB
        wait_for(lambda: int(client.info("clients")["client_recent_max_output_buffer"]) > 0, "nothing was read")
        largest = 0
        for _ in range(20):
            assert client.ping()
            largest = max(largest, server.memory_bytes() - before)
            time.sleep(0.05)
        assert largest < 700 * MIB, f"{largest / MIB:.0f} MiB more"
        # It gets everything once it reads, some of it here.
        wanted = 400 * MIB
        while wanted > 0:
            chunk = greedy.recv(MIB)
            assert chunk, "the server hung up"
            wanted -= len(chunk)
    wait_for(lambda: others(client) == 0, "it is not forgotten")


def test_a_slow_reader_of_a_large_value_holds_nobody_up(new_server: ServerFactory) -> None:
    server = new_server(durability="memory").start()
    size = 100 * MIB
    client = server.client()
    client.set("big", bytes(size))
    with server.connect() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        slow.sendall(b"GET big\r\nPING\r\n")
        slowest = 0.0
        for _ in range(50):
            slow.recv(100_000)
            started = time.perf_counter()
            assert client.ping()
            slowest = max(slowest, time.perf_counter() - started)
        rest = bytearray()
        while not rest.endswith(b"+PONG\r\n"):
            chunk = slow.recv(MIB)
            assert chunk
            rest = rest[-10:] + chunk
    assert slowest < 15, "the others had to wait"


def test_pipelining_all_before_reading_works(makoredis_server: ServerProcess) -> None:
    client = makoredis_server.client()
    client.set("value", b"x" * 1000)
    pipeline = client.pipeline(transaction=False)
    for _ in range(50_000):
        pipeline.get("value")
    replies = pipeline.execute()
    assert len(replies) == 50_000
    assert set(replies) == {b"x" * 1000}


def test_a_blocked_client_cannot_fill_the_memory_with_requests(new_server: ServerFactory) -> None:
    server = new_server(parameters={"client-query-buffer-limit": MIB}).start()
    with server.connect() as blocked:
        blocked.sendall(b"BLPOP nothing 0\r\n")
        wait_for(lambda: int(server.client().info("clients")["blocked_clients"]) == 1, "it does not block")
        with pytest.raises(OSError):
            for _ in range(10_000):
                blocked.sendall(b"SET k " + b"x" * 10_000 + b"\r\n")
    assert server.client().get("k") is None


def test_an_argument_that_is_too_long_ends_the_connection(new_server: ServerFactory) -> None:
    server = new_server().start()
    with server.connect() as connection:
        server.client().config_set("proto-max-bulk-len", MIB)  # holds for connections that are open, too
        connection.sendall(b"*2\r\n$4\r\nECHO\r\n$%d\r\n" % (MIB + 1))
        assert connection.recv(100) == b"-ERR Protocol error: invalid bulk length\r\n"
        assert is_closed(connection)


def test_an_unfinished_request_that_is_too_large_ends_the_connection(new_server: ServerFactory) -> None:
    server = new_server(parameters={"client-query-buffer-limit": MIB}).start()
    with server.connect() as connection:
        try:
            connection.sendall(b"*100\r\n" + (b"$1000000\r\n" + b"x" * 1_000_000 + b"\r\n") * 2)
        except ConnectionResetError:
            return
        assert is_closed(connection)


def test_clients_that_vanish(new_server: ServerFactory) -> None:
    server = new_server().start()
    client = server.client()
    for request in (
        b"MULTI\r\nSET lost 1\r\n",
        b"BLPOP list 0\r\n",
        b"XREAD BLOCK 0 STREAMS s $\r\n",
        b"WATCH a b c\r\nMULTI\r\n",
        b"SUBSCRIBE c\r\nPSUBSCRIBE p*\r\n",
        b"MONITOR\r\n",
        b"CLIENT TRACKING ON BCAST\r\n",
        b"BLPOP list 0\r\nSET behind 1\r\n",
        b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$100\r\nx",
    ):
        connection = server.connect()
        connection.sendall(request)
        wait_for(lambda: others(client) == 1, "it did not arrive")
        time.sleep(0.02)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST instead of FIN
        connection.close()
        wait_for(lambda: others(client) == 0, f"{request!r} is not forgotten")
    info = client.info("clients")
    assert (info["blocked_clients"], info["tracking_clients"]) == (0, 0)
    assert client.pubsub_channels() == []
    assert client.rpush("list", "x") == 1
    assert client.exists("lost", "behind", "half") == 0


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 11_000, reason="the system allows too few files")
def test_ten_thousand_connections(new_server: ServerFactory) -> None:
    count = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 1000), hard))
    server = new_server(durability="memory", parameters={"maxclients": count + 10}).start()
    connections = []
    try:
        for _ in range(count):
            connections.append(server.connect())
        for connection in connections:
            connection.sendall(b"INCR n\r\n")
        answers = sorted(int(connection.recv(100)[1:-2]) for connection in connections)
        assert answers == list(range(1, count + 1))
        client = server.client()
        assert others(client) == count
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_for(lambda: others(client) == 0, "they are not forgotten")


def test_beyond_loopback_without_a_password(new_server: ServerFactory) -> None:
    """Protected mode: only this machine is served."""
    address = _own_address()
    if address is None:
        pytest.skip("this machine has no address beside the loopback")
    server = new_server(port=free_ports(1, "0.0.0.0")[0], arguments=["--bind", f"127.0.0.1 {address}"]).start()
    with socket.create_connection((address, server.port), 30) as stranger:
        assert stranger.recv(2000).startswith(b"-DENIED Redis is running in protected mode")
    server.client().config_set("protected-mode", "no")
    with socket.create_connection((address, server.port), 30) as stranger:
        stranger.sendall(b"PING\r\n")
        assert stranger.recv(100) == b"+PONG\r\n"


def _own_address() -> str | None:
    """An address of this machine that is not the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if address.startswith("127.") else address


@pytest.mark.parametrize("attack", [b"POST / HTTP/1.1\r\n", b"Host: localhost\r\n", b"\x16\x03\x01\x02\x00\x01\r\n"])
def test_other_protocols(makoredis_server: ServerProcess, attack: bytes) -> None:
    with makoredis_server.connect() as connection:
        connection.sendall(attack + b"SET smuggled 1\r\n")
        is_closed(connection) if attack[:1] in b"PH" else connection.recv(1000)
    client = makoredis_server.client()
    if attack[:1] in b"PH":
        assert client.get("smuggled") is None


def test_requests_behind_auth_in_one_packet_are_answered(new_server: ServerFactory) -> None:
    server = new_server(parameters={"requirepass": "secret"}).start()
    with server.connect() as connection:
        connection.sendall(b"PING\r\nAUTH secret\r\nPING\r\nECHO behind\r\n")
        expected = b"-NOAUTH Authentication required.\r\n+OK\r\n+PONG\r\n$6\r\nbehind\r\n"
        received = b""
        while len(received) < len(expected):
            received += connection.recv(100)
        assert received == expected


def test_connections_of_a_certain_age_are_killed(makoredis_server: ServerProcess) -> None:
    with makoredis_server.client() as old, makoredis_server.client() as other:
        kill = ("CLIENT", "KILL", "ID", old.client_id(), "MAXAGE")
        for wrong, error in (("0", "should be greater than 0"), ("x", "is not an integer or out of range")):
            with pytest.raises(redis.ResponseError, match=f"maxage {error}"):
                other.execute_command(*kill, wrong)
        assert other.execute_command(*kill, 1000) == 0 and old.ping()
        wait_for(lambda: other.execute_command(*kill, 1) == 1, "the connection is a second old")
        with pytest.raises(redis.ConnectionError):
            old.ping()
