"""A hash: field → value, with a deadline for some fields.

The fields are one plain dict, which the collector does not look into. What only some hashes need hangs beside it: an
index of the fields for random choice and another for scans, each made when first asked for, and the deadlines of fields
(HEXPIRE).
"""

from collections.abc import Iterable
from itertools import chain

from makoredis.data.config import DataConfig
from makoredis.data.deadlines import Deadlines
from makoredis.data.values.field_index import FieldIndex
from makoredis.data.values.scan_dict import ScanDict

_UNKNOWN, _LISTPACK, _HASHTABLE = 0, 1, 2
_WITH_DEADLINES = 4


class Hash:
    """`fields` keeps insertion order, as clients of small hashes expect."""

    __slots__ = ("_encoding", "deadlines", "fields", "index", "places")

    def __init__(self, fields: dict[bytes, bytes] | None = None) -> None:
        self.fields: dict[bytes, bytes] = {} if fields is None else fields
        self.index: FieldIndex | None = None
        """The fields once more, for `indexed`."""
        self.places: ScanDict[bool] | None = None
        """The fields once more, for `scan`."""
        self.deadlines: Deadlines | None = None
        """Of fields (HEXPIRE), None when none ever had one."""
        self._encoding = _LISTPACK if fields is None else _UNKNOWN

    def __len__(self) -> int:
        return len(self.fields)

    def indexed(self) -> FieldIndex:
        """The index of the fields; effects keep it up to date from the first call on."""
        if self.index is None:
            self.index = FieldIndex(self.fields)
        return self.index

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """Some fields and the next cursor (0 = done), as `ScanDict.scan`: the same cursor on every replica."""
        if self.places is None:
            self.places = ScanDict(dict.fromkeys(self.fields, True))
        following, pairs = self.places.scan(cursor, count)
        return following, [field for field, _ in pairs]

    def without(self, fields: Iterable[bytes]) -> "Hash":
        """A copy that lacks some fields, for reading what a replica may not delete yet."""
        copy = Hash(self.fields.copy())
        copy._encoding = self._encoding
        if self.deadlines is not None:
            copy.deadlines = Deadlines(self.deadlines.by_name.copy())
        for field in fields:
            copy.remove(field)
        return copy

    def encoding(self, config: DataConfig) -> bytes:
        """What OBJECT ENCODING answers. Once a hash table, a hash stays one until it is created anew."""
        if self._encoding == _UNKNOWN:
            self.convert((), config)
        if self._encoding == _HASHTABLE:
            return b"hashtable"
        return b"listpackex" if self.deadlines is not None else b"listpack"

    @property
    def form(self) -> int:
        """What `encoding` knows, for `keep_form` of a copy; 0 for nothing yet."""
        return self._encoding | (_WITH_DEADLINES if self.deadlines is not None else 0)

    def keep_form(self, form: int) -> None:
        """Makes a copy that was just decoded answer `encoding` as its original did."""
        self._encoding = form & ~_WITH_DEADLINES
        if form & _WITH_DEADLINES and self.deadlines is None:
            self.deadlines = Deadlines()

    # -- changes, for effects only

    def convert(self, added: Iterable[bytes], config: DataConfig) -> None:
        """Notes what setting these fields and values (already in) does to the encoding."""
        fields = self.fields
        if len(fields) > config.hash_max_listpack_entries:
            self._encoding = _HASHTABLE
            return
        if not self._encoding:
            self._encoding = _LISTPACK
            added = chain(fields, fields.values(), added)
        longest = config.hash_max_listpack_value
        for text in added:
            if len(text) > longest:
                self._encoding = _HASHTABLE
                return

    @property
    def may_convert(self) -> bool:
        """Whether setting a field could still change the encoding."""
        return self._encoding != _HASHTABLE

    def note_new(self, field: bytes) -> None:
        """Tells the indexes of a field that the hash does not have yet."""
        if self.index is not None:
            self.index.add(field)
        if self.places is not None:
            self.places[field] = True

    def remove(self, field: bytes) -> tuple[bytes, int] | None:
        """Removes a field. Returns its value and its deadline (0: none), None if there was no such field."""
        value = self.fields.pop(field, None)
        if value is None:
            return None
        if self.index is not None:
            self.index.remove(field)
        if self.places is not None:
            self.places.pop(field)
        return value, 0 if self.deadlines is None else self.deadlines.put(field, 0)

    def put_back(self, field: bytes, value: bytes, deadline_ms: int) -> None:
        """Takes back `remove`."""
        self.fields[field] = value
        self.note_new(field)
        if deadline_ms:
            self.set_deadline(field, deadline_ms)

    def set_deadline(self, field: bytes, deadline_ms: int) -> int:
        """Sets (0: clears) a field's deadline. Returns the one it had, 0 for none."""
        if self.deadlines is None:
            if deadline_ms == 0:
                return 0
            self.deadlines = Deadlines()
        return self.deadlines.put(field, deadline_ms)
