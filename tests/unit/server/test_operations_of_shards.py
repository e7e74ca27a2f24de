"""What shards answer, as those who asked take it."""

from makoredis.base.record import wire_encode
from makoredis.server.shards.operations import Ran, decode_ran


def test_replies_of_a_request_that_was_run_in_place_come_as_they_are() -> None:
    """They are what a later leader finds recorded, for one command or for several."""
    for recorded in (
        b"+OK\r\n",
        b":1\r\n:2\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"_\r\n",
        b"-ERR no\r\n",
        b"%0\r\n",
        b"~0\r\n",
    ):
        replies = decode_ran(recorded).replies
        assert b"".join(replies) == recorded and replies[-1] == b""
    assert decode_ran(wire_encode(Ran([b"+OK\r\n", b":1\r\n"]))).replies == [b"+OK\r\n", b":1\r\n"]
