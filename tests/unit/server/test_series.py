"""Equal commands that are run together do what they would do one by one."""

import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makoredis.cluster.node import open_node
from makoredis.commands.registry import SERIES
from makoredis.data.access import Access
from makoredis.server.config import Config
from makoredis.server.parameters import ParameterTable
from makoredis.server.series import CHUNK_REQUESTS_MAX
from makoredis.server.server import Server
from resp.encode import encode_command

Request = tuple[bytes, ...]
MakeServer = Callable[..., Server]


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    servers: list[Server] = []

    def make(durability: str = "memory", directory: str = "", **parameters: str) -> Server:
        table = ParameterTable()
        for name, value in parameters.items():
            table.set_at_start(name.replace("_", "-"), value)
        config = Config(table)
        path = tmp_path / (directory or f"data{len(servers)}")
        server = Server(config, open_node(path, durability, 16, config.data, lambda text: None))
        if server.node.disk_fd is not None:
            server.reactor.epoll.register(server.node.disk_fd, select.EPOLLIN)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.saves_at_stop = False
        server.close()


class Client:
    """A connection to a server that has turns only when it is asked to."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(0.01)
        theirs.setblocking(False)
        server.reactor._admit(theirs, "")
        self.session = server.by_id[max(server.by_id)]

    def send(self, requests: Sequence[Request]) -> None:
        self.socket.sendall(b"".join(map(encode_command, requests)))

    def receive(self) -> bytes:
        """All there is to be read, once the server has answered everything."""
        deadline = time.monotonic() + 60
        while self.server.reactor.turn(0.001) or self.session.held:
            assert time.monotonic() < deadline
        try:
            return self.socket.recv(1 << 20)
        except TimeoutError:
            return b""

    def ask(self, *requests: Request) -> bytes:
        self.send(requests)
        return self.receive()


def one_by_one(server: Server) -> Server:
    server.series.routes = {}
    return server


def counters(server: Server) -> dict[str, tuple[int, int, int, int]]:
    return {
        name: (route.calls, route.missed, route.failed, route.rejected)
        for name, route in server.routes.by_name.items()
        if route.calls or route.rejected
    }


def contents(client: Client) -> list[bytes]:
    """Every key with what it holds and when it expires; of collections also the encoding that clients see."""
    names = sorted(client.server.node.host.space.databases[0].keys())
    return [
        name + client.ask((b"DUMP", name), (b"PEXPIRETIME", name), (b"OBJECT", b"ENCODING", name)) for name in names
    ]


KEYS = st.sampled_from((b"a", b"b", b"{a}c", b"list", b"hash", b"set", b"sorted"))
SMALL = st.sampled_from((b"", b"x", b"y", b"zz", b"1", b"7", b"-3", b"9223372036854775806", b"v" * 70, b"w" * 2000))
SCORES = st.sampled_from((b"0", b"-0", b"1", b"1.5", b"inf", b"nan", b"NX", b"x"))
ARGUMENTS: dict[bytes, tuple[st.SearchStrategy[bytes], ...]] = {
    b"GET": (KEYS,),
    b"SET": (KEYS, SMALL),
    b"INCR": (KEYS,),
    b"LPUSH": (KEYS, SMALL),
    b"RPUSH": (KEYS, SMALL),
    b"LPOP": (KEYS,),
    b"RPOP": (KEYS,),
    b"SADD": (KEYS, SMALL),
    b"HSET": (KEYS, SMALL, SMALL),
    b"ZADD": (KEYS, SCORES, SMALL),
    b"MSET": (KEYS, SMALL, KEYS, SMALL),
    b"APPEND": (KEYS, SMALL),
    b"HGET": (KEYS, SMALL),
    b"PERSIST": (KEYS,),
    b"DEL": (KEYS,),
}
SETUP: tuple[Request, ...] = (
    (b"RPUSH", b"list", b"1", b"2", b"3"),
    (b"HSET", b"hash", b"x", b"1"),
    (b"SADD", b"set", b"1", b"2"),
    (b"ZADD", b"sorted", b"1", b"x"),
    (b"SET", b"b", b"5", b"PXAT", b"99999999999999"),
)


@st.composite
def runs(draw: st.DrawFn) -> list[Request]:
    """Requests of one command: for one key or for several, now and then with one argument more."""
    name = draw(st.sampled_from(sorted(ARGUMENTS)))
    key = draw(st.one_of(st.none(), KEYS))
    requests = []
    for _ in range(draw(st.integers(1, 8))):
        first, *rest = [draw(strategy) for strategy in ARGUMENTS[name]]
        more = draw(st.sampled_from(((),) * 12 + ((b"1",), (b"x", b"y"))))
        requests.append((name.lower() if len(requests) == 40 else name, key or first, *rest, *more))
    return requests


def test_every_handler_of_a_series_is_compared() -> None:
    assert {name.encode() for name in SERIES} <= set(ARGUMENTS)


@pytest.mark.parametrize("durability", ["memory", "interval"])
def test_together_as_one_by_one(make_server: MakeServer, durability: str) -> None:
    together, apart = Client(make_server(durability)), Client(one_by_one(make_server(durability)))

    @settings(max_examples=20, deadline=None)
    @given(st.lists(runs(), min_size=1, max_size=8))
    def compare(pipelines: list[list[Request]]) -> None:
        for requests in (((b"FLUSHALL",), (b"CONFIG", b"RESETSTAT")), SETUP, *pipelines):
            assert together.ask(*requests) == apart.ask(*requests)
        assert counters(together.server) == counters(apart.server)
        assert together.server.stats.errors == apart.server.stats.errors
        changed, changed_apart = (client.server.node.host.executor for client in (together, apart))
        assert changed.dirty == changed_apart.dirty
        assert changed.version >= changed_apart.version
        assert contents(together) == contents(apart)

    compare()


def test_requests_of_many_clients_make_one_series(make_server: MakeServer) -> None:
    server = make_server("interval")
    clients = [Client(server) for _ in range(5)]
    before = server.node.host.executor.version
    for number, client in enumerate(clients):
        client.send([(b"SET", b"key%d" % number, b"value%d" % number)])
    assert [client.receive() for client in clients] == [b"+OK\r\n"] * 5
    assert server.node.host.executor.version == before + 5
    for number, client in enumerate(clients):
        client.send([(b"GET", b"key%d" % number), (b"GET", b"nothing")])
    assert [client.receive() for client in clients] == [b"$6\r\nvalue%d\r\n$-1\r\n" % number for number in range(5)]
    assert all(client.session.commands_count == 3 for client in clients)
    assert all(client.session.last_command == [b"GET"] for client in clients)


def test_clients_of_other_databases_and_protocols_are_left_to_themselves(make_server: MakeServer) -> None:
    server = make_server()
    clients = [Client(server) for _ in range(9)]
    for number, client in enumerate(clients):
        client.ask((b"SELECT", b"%d" % (number % 3)))
        if number >= 6:
            client.ask((b"HELLO", b"3"))
    for number, client in enumerate(clients):
        client.send([(b"SADD", b"set", b"%d" % number), (b"SADD", b"set", b"%d" % number)])
    assert [client.receive() for client in clients] == [b":1\r\n:0\r\n"] * 9
    for client in clients:
        client.send([(b"GET", b"nothing")])
    assert [client.receive() for client in clients] == [b"$-1\r\n"] * 6 + [b"_\r\n"] * 3
    assert [client.ask((b"SCARD", b"set")) for client in clients] == [b":3\r\n"] * 9


def test_a_command_without_a_name_is_answered(make_server: MakeServer) -> None:
    client = Client(make_server())
    assert client.ask((b"",), (b"",)) == b"-ERR unknown command '', with args beginning with: \r\n" * 2


def test_what_was_written_in_a_series_is_there_after_a_start(make_server: MakeServer) -> None:
    server = make_server("sync", "kept")
    client = Client(server)
    assert client.ask(*[(b"SET", b"k%d" % n, b"v%d" % n) for n in range(20)]) == b"+OK\r\n" * 20
    assert client.ask(*[(b"RPUSH", b"list", b"%d" % n) for n in range(3)]) == b":1\r\n:2\r\n:3\r\n"
    server.close()
    server.close = lambda: None  # type: ignore[method-assign]
    again = Client(make_server("sync", "kept"))
    assert again.ask(*[(b"GET", b"k%d" % n) for n in range(9)]) == b"".join(b"$2\r\nv%d\r\n" % n for n in range(9))
    assert again.ask((b"LRANGE", b"list", b"0", b"-1")) == b"*3\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n"


def test_a_key_past_its_deadline_is_gone_for_a_series(make_server: MakeServer) -> None:
    server = make_server()
    client = Client(server)
    client.ask((b"SET", b"short", b"1", b"PX", b"1"), (b"RPUSH", b"list", b"x"), (b"PEXPIRE", b"list", b"1"))
    begun = time.time()
    while time.time() < begun + 0.005:
        pass
    assert client.ask(*[(b"GET", b"short")] * 4) == b"$-1\r\n" * 4
    assert client.ask(*[(b"LPUSH", b"list", b"y")] * 4) == b":1\r\n:2\r\n:3\r\n:4\r\n"
    assert client.ask((b"PTTL", b"list")) == b":-1\r\n"


@pytest.mark.parametrize(
    "request_",
    [(b"MONITOR",), (b"CONFIG", b"SET", b"notify-keyspace-events", b"KA"), (b"WATCH", b"k"), (b"BLPOP", b"q", b"0")],
)
def test_who_looks_at_single_requests_sees_them(make_server: MakeServer, request_: Request) -> None:
    """With anybody who does, nothing is run together."""
    server = make_server()
    other, client = Client(server), Client(server)
    other.ask(request_)
    assert not server.series.is_calm()
    assert client.ask(*[(b"LPUSH", b"k", b"%d" % n) for n in range(3)]) == b":1\r\n:2\r\n:3\r\n"


def test_a_threshold_of_slowlog_that_is_low_sees_every_request(make_server: MakeServer) -> None:
    client = Client(make_server())
    client.ask((b"CONFIG", b"SET", b"slowlog-log-slower-than", b"0"))
    client.ask(*[(b"SET", b"k", b"%d" % n) for n in range(5)])
    assert client.ask((b"SLOWLOG", b"LEN")) == b":6\r\n"


def test_one_slow_request_in_a_series_is_in_slowlog(make_server: MakeServer) -> None:
    server = make_server()
    client = Client(server)
    route = server.routes.by_name["STRLEN"]
    plain = route.handler

    def strlen(access: Access, key: bytes) -> int:
        if key == b"slow":
            time.sleep(0.02)
        return plain(access, key)  # type: ignore[no-any-return]

    route.handler = strlen
    client.ask((b"STRLEN", b"k"), (b"STRLEN", b"slow"), (b"STRLEN", b"k"), (b"STRLEN", b"k"))
    assert [entry.argv for entry in server.slowlog.entries if b"slow" in entry.argv] == [[b"STRLEN", b"slow"]]


class Defect(Exception):
    pass


def test_a_defect_in_a_series_ends_the_one_session_that_it_concerns(make_server: MakeServer) -> None:
    server = make_server("interval")
    clients = [Client(server) for _ in range(4)]
    route = server.routes.by_name["APPEND"]
    plain = route.handler

    def append(access: Access, key: bytes, value: bytes) -> int:
        length = plain(access, key, value)
        if value == b"broken":
            raise Defect
        return length  # type: ignore[no-any-return]

    route.handler = append
    for number, client in enumerate(clients):
        client.send([(b"APPEND", b"k", b"broken" if number == 2 else b"x")])
    replies = [client.receive() for client in clients]
    assert replies == [b":1\r\n", b":2\r\n", b"-ERR internal error, see the server's log\r\n", b":3\r\n"]
    assert clients[0].ask((b"GET", b"k")) == b"$3\r\nxxx\r\n"


@pytest.mark.parametrize("value", [b"x" * 10, b"x"])
def test_what_one_client_has_sent_in_part_stays_apart(make_server: MakeServer, value: bytes) -> None:
    server = make_server()
    clients = [Client(server) for _ in range(4)]
    whole = [encode_command((b"SET", b"key%d" % number, value * (number + 1))) for number in range(4)]
    for cut in range(1, len(whole[1])):
        clients[0].socket.sendall(whole[0] * 2)
        clients[1].socket.sendall(whole[1][:cut])
        clients[2].socket.sendall(whole[1][cut:] if cut < 4 else whole[2])
        clients[3].socket.sendall(whole[3])
        server.reactor.turn(0.001)
        clients[1].socket.sendall(whole[1][cut:])
        replies = [client.receive() for client in clients]
        assert replies[0] == b"+OK\r\n" * 2
        assert replies[1] == replies[3] == b"+OK\r\n"
        if cut < 4:  # what is left of a request's first line is a command of no known name, or an error
            assert replies[2].startswith(b"-ERR")
            clients[2] = Client(server)
        else:
            assert replies[2] == b"+OK\r\n"
    assert clients[0].ask(*[(b"GET", b"key%d" % number) for number in range(4)]) == b"".join(
        b"$%d\r\n%b\r\n" % (len(value) * (number + 1), value * (number + 1)) for number in (0, 1, 2, 3)
    )


def test_who_has_been_closed_or_restricted_meanwhile_is_not_in_a_series(make_server: MakeServer) -> None:
    server = make_server()
    clients = [Client(server) for _ in range(6)]
    chunks = [(client.session, encode_command((b"SET", b"k", b"%d" % n))) for n, client in enumerate(clients)]
    server.reactor.close(clients[0].session, "killed")
    clients[5].session.is_special = True
    assert server.series.run_chunks(chunks) == [chunks[0], chunks[5]]
    assert [client.session.out for client in clients] == [[], *[[b"+OK\r\n"]] * 4, []]


@pytest.mark.parametrize("count", [CHUNK_REQUESTS_MAX, CHUNK_REQUESTS_MAX + 1])
def test_long_pipelines_run_in_portions(make_server: MakeServer, count: int) -> None:
    server = make_server()
    client = Client(server)
    chunk = (client.session, encode_command((b"GET", b"k")) * count)
    assert server.series.run_chunks([chunk]) == ([] if count == CHUNK_REQUESTS_MAX else [chunk])
    assert client.ask(*[(b"GET", b"k")] * 300) == b"$-1\r\n" * (300 + (count if count == CHUNK_REQUESTS_MAX else 0))
