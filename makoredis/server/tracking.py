"""Client side caching: which client may hold which keys in its own memory, and telling it when they change.

A client that tracks is told of a key once: then it is expected to forget it, and is not told again until it reads it
again. A broadcasting client is told of every change of keys with its prefixes, once per turn.

Invalidations follow from the effects of *final* transactions (`Announcement`), so that nobody forgets a value for a
change that never took place. A read may show a change before it is final (its reply waits, the change's announcement
comes later): what was read is remembered with the number of the last transaction before, and an older one's
announcement doesn't invalidate it.

A client hears of its own changes right behind the reply of the request that made them.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from makoredis.data.effects import Effect
from makoredis.server.routes import Route
from makoredis.server.session import Session
from makoredis.txn.executor import Announcement
from makoredis.txn.gate import Gate
from resp.encode import encode
from resp.replies import Push

if TYPE_CHECKING:
    from makoredis.server.server import Server

_TOLD_ALL_MAX = 64
"""Remembered so that the parts of one transaction in several shards are told once."""

CHANNEL = b"__redis__:invalidate"
"""Where a client of RESP2 hears of another client's keys."""


class Tracking:
    """One client's wishes. `redirect`: the client that is told instead; 0 = itself."""

    __slots__ = (
        "is_broadcast",
        "is_broken",
        "is_caching",
        "may_change",
        "meanwhile",
        "no_loop",
        "opts_in",
        "opts_out",
        "own",
        "prefixes",
        "provisional",
        "reading",
        "redirect",
        "reread",
        "reread_ts",
        "script_reads",
        "stale",
    )

    def __init__(self) -> None:
        self.redirect = 0
        self.is_broadcast = False
        self.opts_in = False
        self.opts_out = False
        self.no_loop = False
        self.is_caching = False
        """CLIENT CACHING was said: in OPTIN mode the next command's keys are tracked, in OPTOUT mode they are not."""
        self.is_broken = False
        """The client to be told instead is gone."""
        self.prefixes: dict[bytes, None] = {}
        self.reading: dict[bytes, None] = {}
        """Keys of the request that is being asked, where there are several shards."""
        self.meanwhile: dict[bytes, int] = {}
        """Those of them of which a change was announced since, with its timestamp: whether the answer shows it is not
        known yet."""
        self.may_change = False
        """Whether that request may change something, and the client wants to hear of that."""
        self.stale: set[bytes] = set()
        """Those of its keys that the client may hold from before, or that are read ahead of being changed."""
        self.reread: set[bytes] = set()
        """Those that are read behind all changes of the same request: they stay remembered."""
        self.reread_ts = 0
        """Of which request `reread` are; 0 while it is being asked."""
        self.provisional: list[bytes] = []
        """Those of the script that is being run there, as far as they were not remembered before."""
        self.script_reads = True
        """Whether that script has called a command that reads."""
        self.own: list[bytes | None] = []
        """Keys that the request being executed has invalidated for its own client; None = all."""

    def caches(self) -> bool:
        """Whether the client may keep what the present request reads."""
        if self.is_broadcast or (self.opts_in and not self.is_caching):
            return False
        return not (self.opts_out and self.is_caching)

    def rereads(self, key: bytes, ts: int) -> bool:
        """Whether the request with this timestamp has read a key behind all its changes of that."""
        return ts == self.reread_ts and key in self.reread


class Prefix:
    """A prefix that somebody wants to hear of, and the keys changed in this turn with the client that did it last."""

    __slots__ = ("changed", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[int, Session] = {}
        self.changed: dict[bytes, int] = {}


class TrackingTable:
    """Who has read what since it last changed. Clients are forgotten lazily, as in Redis."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.keys: OrderedDict[bytes, dict[int, int]] = OrderedDict()
        """By key, the sessions that have read it, each with the number of the last transaction before."""
        self.item_count = 0
        self.prefixes: dict[bytes, Prefix] = {}
        self.sessions: dict[int, Session] = {}
        self._told_all: deque[int] = deque(maxlen=_TOLD_ALL_MAX)
        """The last transactions by which everything was to be forgotten, by their versions."""

    # -- who tracks

    def enable(self, session: Session, wanted: Tracking) -> None:
        """Begins to track for a session, or changes how; prefixes add up."""
        if session.tracking is not None:
            for prefix in session.tracking.prefixes:
                wanted.prefixes.setdefault(prefix)
            wanted.is_caching = session.tracking.is_caching
        for prefix in wanted.prefixes:
            entry = self.prefixes.get(prefix)
            if entry is None:
                entry = self.prefixes[prefix] = Prefix()
            entry.sessions[session.id] = session
        session.tracking = wanted
        self.sessions[session.id] = session
        session.refresh_special()
        self.server.node.host.executor.announces = True

    def disable(self, session: Session) -> None:
        """Ends a session's tracking. Its entries stay in the table until their keys change or are evicted."""
        if session.tracking is None:
            return
        for prefix in session.tracking.prefixes:
            entry = self.prefixes[prefix]
            del entry.sessions[session.id]
            if not entry.sessions:
                del self.prefixes[prefix]
        session.tracking = None
        del self.sessions[session.id]
        session.refresh_special()
        if not self.sessions:
            # Nobody hears of changes from now on, so nothing in the table would be current.
            self.keys.clear()
            self.item_count = 0
            self.server.node.host.executor.announces = False

    # -- what is read

    def remember(self, session: Session, route: Route, argv: Sequence[bytes], *, runs_elsewhere: bool = False) -> None:
        """Notes that a client was answered with what is in the keys of a reading command.

        A script that has read anything counts as having read all keys that it declares; so does one of which that is
        not known.
        """
        if route.row.group == "scripting":
            reads = runs_elsewhere or self.server.node.host.access.script_reads
        else:
            reads = "readonly" in route.row.flags
        if reads:
            self.remember_keys(session, route.row.keys(argv))

    def remember_keys(self, session: Session, keys: Iterable[bytes]) -> None:
        """Notes that a client may cache these keys."""
        tracking: Tracking = session.tracking
        if not tracking.caches():
            return
        version = self.server.node.host.executor.version
        for key in keys:
            self._note_reader(key, session.id, version)

    def _note_reader(self, key: bytes, id: int, version: int) -> None:
        readers = self.keys.get(key)
        if readers is None:
            readers = self.keys[key] = {}
        self.item_count += id not in readers
        readers[id] = version

    # -- the same where there are several shards: what was read is known when the answer has come

    def asks(self, session: Session, commands: Iterable[tuple[Route, Sequence[bytes]]]) -> None:
        """Notes what a client is about to be answered. The commands take effect together, so the change of a key that
        they also read has the timestamp of that read."""
        tracking: Tracking = session.tracking
        tracking.reading, tracking.stale, tracking.reread, tracking.reread_ts = {}, set(), set(), 0
        tracking.may_change, tracking.meanwhile = False, {}
        if not tracking.caches():
            return
        for route, argv in commands:
            may_change = route.is_write or (route.runs_scripts and "readonly" not in route.row.flags)
            tracking.may_change |= may_change and not tracking.no_loop
            if route.row.group == "scripting" or "readonly" in route.row.flags:
                for key in route.row.keys(argv):
                    self._note_asked(session, key)
            elif route.is_write and tracking.reading:
                written = tracking.reading.keys() & set(route.row.keys(argv))
                tracking.stale |= written
                tracking.reread -= written
        tracking.provisional = [key for key in tracking.reading if key not in tracking.stale]

    def _note_asked(self, session: Session, key: bytes) -> None:
        tracking: Tracking = session.tracking
        tracking.reread.add(key)
        if key not in tracking.reading:
            tracking.reading[key] = None
            if session.id in self.keys.get(key, ()):
                tracking.stale.add(key)
            # Until it is known as of when the answer is; a change that is announced before goes behind it.
            self._note_reader(key, session.id, 0)

    def answered(self, session: Session, ts: int) -> None:
        """What the session asked for is as of this timestamp."""
        tracking: Tracking = session.tracking
        for key in tracking.reading:
            readers = self.keys.get(key)
            if readers is None or session.id not in readers:
                continue
            readers[session.id] = ts - (tracking.may_change and key in tracking.stale)
            if tracking.meanwhile.get(key, 0) > ts:
                self._forget(key, readers, session.id)
                self._send(session, [key])
        if tracking.reading:
            tracking.reread_ts = ts if tracking.may_change else 0
            tracking.reading = {}

    def script_ended(self, session: Session) -> None:
        """If the script has not called any command that reads, its keys are not its client's to keep."""
        tracking: Tracking = session.tracking
        keys, tracking.provisional = tracking.provisional, []
        if not tracking.script_reads:
            tracking.reread.clear()
        for key in () if tracking.script_reads else keys:
            readers = self.keys.get(key)
            if readers is not None and session.id in readers:
                self._forget(key, readers, session.id)

    # -- what changes

    def note_own(self, session: Session, effects: Sequence[Effect]) -> None:
        """Notes what a transaction of this client invalidates for itself; `flush_own` tells it.

        Where a leader may change, the client hears of it like all others, when it is final.
        """
        tracking: Tracking = session.tracking
        if tracking.redirect or self.server.node.is_replicated:
            return
        for effect in effects:
            if effect.key is None:
                if None not in tracking.own:
                    tracking.own.append(None)
            elif not tracking.is_broadcast:
                readers = self.keys.get(effect.key)
                if readers is not None and session.id in readers:
                    self._forget(effect.key, readers, session.id)
                    if not tracking.no_loop:
                        tracking.own.append(effect.key)

    def flush_own(self, session: Session, gate: Gate | None) -> None:
        """Sends what the request just answered has invalidated for its own client."""
        tracking: Tracking = session.tracking
        keys, tracking.own = tracking.own, []
        if session.protocol >= 3:
            for key in keys:
                session.send_bytes(_invalidate(None if key is None else [key]), gate)

    def announce(self, announcement: Announcement) -> None:
        """Tells those who have read what a final transaction has changed."""
        author = announcement.origin
        request = announcement.request
        if request is not None and request.incarnation == self.server.node.incarnation:
            author = request.session
        has_told_all = False
        for effect in announcement.effects:
            if effect.key is None:
                if not has_told_all:
                    self._invalidate_all(author, announcement.version)
                has_told_all = True
            else:
                self._invalidate_key(effect.key, author, announcement.version)

    def _invalidate_key(self, key: bytes, author: int, version: int) -> None:
        if self.prefixes:
            for prefix, entry in self.prefixes.items():
                if key.startswith(prefix):
                    entry.changed[key] = author
        readers = self.keys.get(key)
        if readers is None:
            return
        for id, seen in list(readers.items()):
            if seen >= version:
                continue
            session = self.sessions.get(id)
            if session is not None and self._waits_for_answer(session, key, version):
                continue
            if session is not None and id == author:
                tracking: Tracking = session.tracking
                if tracking.rereads(key, version):
                    readers[id] = version
                    self._send(session, [key])
                    continue
                if tracking.no_loop and key in tracking.reading:
                    continue  # it reads the key again, behind its own change, and would not be told to forget that
            self._forget(key, readers, id)
            if session is None or session.tracking.is_broadcast or (session.tracking.no_loop and id == author):
                continue
            self._send(session, [key])

    def _waits_for_answer(self, session: Session, key: bytes, version: int) -> bool:
        """Whether a client is reading a key of which it holds nothing. If the answer shows this change already, there
        is nothing to be forgotten; `answered` will see to it."""
        tracking: Tracking = session.tracking
        if key not in tracking.reading or key in tracking.stale:
            return False
        tracking.meanwhile[key] = max(version, tracking.meanwhile.get(key, 0))
        return True

    def _forget(self, key: bytes, readers: dict[int, int], id: int) -> None:
        del readers[id]
        self.item_count -= 1
        if not readers:
            del self.keys[key]

    def forget_all(self, author: int) -> None:
        """Tells all clients to forget everything, at once: nothing has changed that could be undone."""
        for _id, session in list(self.sessions.items()):
            if self._hears_with_reply(session, author):
                session.tracking.own.append(None)
            else:
                self._send(session, None)
        self.keys.clear()
        self.item_count = 0

    def _hears_with_reply(self, session: Session, author: int) -> bool:
        return session.id == author and not session.tracking.redirect and not self.server.node.is_replicated

    def _invalidate_all(self, author: int, version: int) -> None:
        """A whole database has changed. Keys are remembered without theirs.

        Where there are several shards, each of them says so. A client is told once, and again if it has read meanwhile
        what another shard showed before.
        """
        is_told = version in self._told_all
        forgotten: set[int] = set()
        for key, readers in list(self.keys.items()):
            for id, seen in list(readers.items()):
                session = self.sessions.get(id)
                if seen < version and (session is None or not self._waits_for_answer(session, key, version)):
                    self._forget(key, readers, id)
                    forgotten.add(id)
        if not is_told:
            self._told_all.append(version)
        for session in list(self.sessions.values()):
            if (not is_told or session.id in forgotten) and not self._hears_with_reply(session, author):
                self._send(session, None)

    def emptied(self, author: int, ts: int) -> None:
        """Where there are several shards: databases were emptied that may have been empty, which no shard logs."""
        if ts not in self._told_all:
            self._invalidate_all(author, ts)

    def end_turn(self) -> None:
        """Tells the broadcasting clients of this turn's changes, and keeps the table within its limit."""
        for _, entry in sorted(self.prefixes.items()):
            if entry.changed:
                changed, entry.changed = entry.changed, {}
                self._broadcast(entry, changed)
        limit = self.server.config.tracking_keys_max
        while limit and len(self.keys) > limit:
            key, readers = self.keys.popitem(last=False)
            self.item_count -= len(readers)
            for id in readers:
                session = self.sessions.get(id)
                if session is not None and not session.tracking.is_broadcast:
                    self._send(session, [key])

    def _broadcast(self, entry: Prefix, changed: dict[bytes, int]) -> None:
        keys = sorted(changed)
        for id, session in list(entry.sessions.items()):
            others = [key for key in keys if changed[key] != id] if session.tracking.no_loop else keys
            if others:
                self._send(session, others)

    def _send(self, session: Session, keys: list[bytes] | None) -> None:
        """Tells a client, or the one that it has named, which keys to forget; None = all."""
        tracking: Tracking = session.tracking
        if not tracking.redirect:
            if session.protocol >= 3:
                session.push(_invalidate(keys))
            return
        target = self.server.by_id.get(tracking.redirect)
        if target is None:
            tracking.is_broken = True
            if session.protocol >= 3:
                session.push(encode(Push((b"tracking-redir-broken", tracking.redirect)), 3))
        elif target.protocol >= 3:
            target.push(_invalidate(keys))
        elif target.subscription_count():
            target.push(encode((b"message", CHANNEL, keys), 2))


def _invalidate(keys: list[bytes] | None) -> bytes:
    return encode(Push((b"invalidate", keys)), 3)
