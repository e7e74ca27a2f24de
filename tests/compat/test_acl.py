"""Users and permissions, byte for byte. Where the real server lists commands in no particular order, one is shown."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.duet import Duet
from tests.server_process import ServerProcess

CLEAN = "~Z: ACL DELUSER alice bob"
STORIES = {
    "users begin with nothing": """
        A: ACL WHOAMI
        A: ACL LIST
        A: ACL USERS
        A: ACL GETUSER default
        A: ACL GETUSER alice
        A: ACL SETUSER alice
        A: ACL GETUSER alice
        A: ACL LIST
        B: AUTH alice x
        A: ACL SETUSER alice on >secret
        B: AUTH alice wrong
        B: AUTH alice secret
        B: GET k
        B: ACL WHOAMI
        B: PING
        A: ACL SETUSER alice +get ~a* %R~r* %W~w* %RW~x
        B: GET k
        B: GET a1
        B: GET r1
        B: SET r1 1
        B: GET w1
        A: ACL GETUSER alice
        A: ACL SETUSER alice nopass
        C: AUTH alice anything
        A: ACL DELUSER alice nobody
        B: PING
        C: PING
        """,
    "passwords": """
        A: ACL SETUSER alice on >one >two
        A: ACL GETUSER alice
        A: ACL SETUSER alice <one
        A: ACL SETUSER alice <one
        A: ACL SETUSER alice #34344e4d60c2b6d639b7bd22e18f2b0b91bc34bf0ac5f9952744435093cfb4e6
        A: ACL SETUSER alice #34344e4d60c2b6d639b7bd22e18f2b0b91bc34bf0ac5f9952744435093cfb4
        A: ACL SETUSER alice #34344e4d60c2b6d639b7bd22e18f2b0b91bc34bf0ac5f9952744435093cfb4eQ
        A: ACL SETUSER alice !aaaa
        B: AUTH alice one
        B: AUTH alice two
        B: AUTH alice passwd4
        B: AUTH two
        B: AUTH a b c
        A: ACL SETUSER alice resetpass
        B: AUTH alice two
        A: ACL GETUSER alice
        """,
    "bad rules": """
        A: ACL SETUSER "a b"
        A: ACL SETUSER alice foo
        A: ACL SETUSER alice +nosuch
        A: ACL SETUSER alice +@nosuch
        A: ACL SETUSER alice -nosuch
        A: ACL SETUSER alice allkeys ~x
        A: ACL SETUSER alice allchannels &x
        A: ACL SETUSER alice "~a b"
        A: ACL SETUSER alice %X~a
        A: ACL SETUSER alice %~a
        A: ACL SETUSER alice %RR~a
        A: ACL SETUSER alice +config|nosuch
        A: ACL SETUSER alice +config|get|x
        A: ACL SETUSER alice +get|a|b
        A: ACL SETUSER alice -get|a
        A: ACL SETUSER alice +debug|
        A: ACL SETUSER alice (
        A: ACL SETUSER alice )
        A: ACL SETUSER alice "(bad)"
        A: ACL SETUSER alice "(&* &a)"
        A: ACL GETUSER alice
        """,
    "commands, subcommands, categories": """
        A: ACL SETUSER alice on nopass ~* +@all -client
        A: ACL GETUSER alice
        B: AUTH alice x
        B: CLIENT ID x
        B: CLIENT GETNAME
        A: ACL SETUSER alice +client|getname
        B: CLIENT GETNAME
        B: CLIENT SETNAME x
        A: ACL SETUSER alice -@all +select|1 +config -config|set
        B: SELECT 1
        B: SELECT 0
        B: CONFIG GET port
        B: CONFIG SET port 1
        A: ACL SETUSER alice reset on nopass +@string -@slow allkeys
        B: SET a 1
        B: LPUSH l 1
        B: MULTI
        """,
    "categories are recognised": """
        A: ACL SETUSER alice -@all +@pubsub
        A: ACL GETUSER alice
        A: ACL SETUSER alice reset +@all -@dangerous
        A: ACL GETUSER alice
        A: ACL SETUSER alice reset +@geo +@stream
        A: ACL GETUSER alice
        A: ACL SETUSER alice reset +@hyperloglog -pfadd
        A: ACL GETUSER alice
        A: ACL SETUSER alice +memory|doctor
        A: ACL SETUSER alice reset +memory
        A: ACL GETUSER alice
        A: ACL SETUSER alice +@all
        A: ACL GETUSER alice
        A: ACL SETUSER alice -memory|doctor
        A: ACL GETUSER alice
        """,
    "keys by how they are used": """
        A: ACL SETUSER alice on nopass +@all %R~read* %W~write* %RW~rw*
        A: ACL DRYRUN alice GET read
        A: ACL DRYRUN alice SET read x
        A: ACL DRYRUN alice SET write x
        A: ACL DRYRUN alice SET write x GET
        A: ACL DRYRUN alice SET rw x GET
        A: ACL DRYRUN alice COPY read write
        A: ACL DRYRUN alice COPY write read
        A: ACL DRYRUN alice RENAME rw write
        A: ACL DRYRUN alice EXISTS write
        A: ACL DRYRUN alice EXISTS other
        A: ACL DRYRUN alice BITFIELD read GET u4 0
        A: ACL DRYRUN alice BITFIELD read GET u4 0 SET u4 0 1
        A: ACL DRYRUN alice BITFIELD read OVERFLOW SAT GET u4 0
        A: ACL DRYRUN alice SORT read STORE write
        A: ACL DRYRUN alice SORT read STORE read
        A: ACL DRYRUN alice SORT write
        A: ACL DRYRUN alice SORT_RO read
        A: ACL DRYRUN alice MIGRATE h 1 rw 0 500
        A: ACL DRYRUN alice MIGRATE h 1 read 0 500
        A: ACL DRYRUN alice MIGRATE h 1 "" 0 500 AUTH KEYS KEYS rw write
        A: ACL DRYRUN alice MIGRATE h 1 "" 0 500 AUTH2 a b KEYS rw
        A: ACL DRYRUN alice EVAL "" 1 rw
        A: ACL DRYRUN alice EVAL "" 1 read
        A: ACL DRYRUN alice EVAL_RO "" 1 read
        A: ACL DRYRUN alice EVAL "" 3 rw read
        A: ACL DRYRUN alice GEORADIUS read 1 1 1 m STORE write
        A: ACL DRYRUN alice GEORADIUS read 1 1 1 m STOREDIST read
        A: ACL DRYRUN alice XREAD COUNT 1 STREAMS read write 0 0
        A: ACL DRYRUN alice ZUNIONSTORE write 2 read read2
        A: ACL DRYRUN alice ZUNIONSTORE read 1 read
        A: ACL DRYRUN alice LMOVE rw write LEFT LEFT
        A: ACL DRYRUN alice LMPOP 2 rw read LEFT
        A: ACL DRYRUN alice MSET write a rw b other c
        A: ACL DRYRUN alice OBJECT ENCODING write
        A: ACL DRYRUN alice MEMORY USAGE other
        A: ACL DRYRUN alice nosuch x
        A: ACL DRYRUN nobody GET x
        A: ACL DRYRUN alice SET x
        A: ACL DRYRUN alice CONFIG
        A: ACL DRYRUN alice CONFIG NOSUCH
        A: ACL DRYRUN default GET x
        """,
    "channels": """
        A: ACL SETUSER alice on nopass +@all resetchannels &foo &bar*
        B: AUTH alice x
        B: PUBLISH foo 1
        B: PUBLISH nope 1
        B: SPUBLISH nope 1
        B: PSUBSCRIBE bar*
        B: PUNSUBSCRIBE nope
        B: PSUBSCRIBE bar1
        B: SUBSCRIBE bar1 nope
        B: SSUBSCRIBE nope
        B: SSUBSCRIBE foo
        A: ACL SETUSER alice &more
        B: PING
        A: ACL SETUSER alice resetchannels &foo
        B: PING
        """,
    "selectors": """
        A: ACL SETUSER alice on nopass -@all resetkeys (+@write ~write::*) (+@read ~read::*)
        A: ACL GETUSER alice
        A: ACL LIST
        B: AUTH alice x
        B: SET write::a 1
        B: GET read::a
        B: GET write::a
        B: PING
        A: ACL SETUSER alice ( ~key1 +get ) "( ~key2 +set )"
        A: ACL GETUSER alice
        A: ACL SETUSER alice clearselectors
        A: ACL GETUSER alice
        """,
    "a transaction is checked twice": """
        A: ACL SETUSER alice on nopass +@all ~a*
        B: AUTH alice x
        B: MULTI
        B: SET a1 1
        B: SET b1 1
        B: EXEC
        B: MULTI
        B: SET a1 1
        B: GET a1
        A: ACL SETUSER alice -get
        B: EXEC
        B: MULTI
        B: SET a1 1
        A: ACL SETUSER alice resetkeys
        B: EXEC
        """,
    "SORT looks at other keys": """
        A: RPUSH l 1
        A: ACL SETUSER alice on nopass +@all ~l
        B: AUTH alice x
        B: SORT l
        B: SORT l BY nosort
        B: SORT l BY w*
        B: SORT l GET w*
        B: SORT l LIMIT 0 1 GET #
        A: ACL SETUSER alice %R~*
        B: SORT l BY w* GET #
        """,
    "RESET and HELLO": """
        C: PING
        A: ACL SETUSER alice on >pw +@all
        B: HELLO 2 AUTH alice wrong
        ~B: HELLO 2 AUTH alice pw
        B: ACL WHOAMI
        B: RESET
        B: ACL WHOAMI
        A: ACL SETUSER default off
        B: PING
        C: PING
        A: ACL SETUSER default on
        """,
    "errors and help": """
        A: ACL
        A: ACL HELP
        A: ACL HELP x
        A: ACL NOSUCH
        A: ACL CAT
        A: ACL CAT nosuch
        A: ACL CAT a b
        A: ACL GENPASS 0
        A: ACL GENPASS 4097
        A: ACL GENPASS x
        A: ACL GENPASS 1 2
        A: ACL LOG x
        A: ACL LOG RESET
        A: ACL LOG
        A: ACL LOG 1 2
        A: ACL LOAD
        A: ACL SAVE
        A: ACL DELUSER default
        A: ACL DELUSER
        A: ACL SETUSER
        A: ACL GETUSER
        A: ACL DRYRUN a
        A: CLIENT KILL USER nobody
        """,
}


@pytest.fixture(scope="module")
def duet(makoredis_server: ServerProcess, redis_server: Path) -> Iterator[Duet]:
    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(redis_server))
        return connection

    # The default user as it is at the start, and no other.
    yield Duet(makoredis_server.connect, connect, ("FLUSHALL", "ACL SETUSER default on nopass ~* &* +@all"))


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("story", STORIES)
def test_story(duet: Duet, story: str, protocol: int) -> None:
    duet.tell(f"~A: HELLO {protocol}\n{CLEAN}\n{STORIES[story]}\n{CLEAN}")
