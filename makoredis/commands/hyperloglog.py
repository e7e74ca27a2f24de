"""HyperLogLogs: counting different elements in 12 kB. The format and the mathematics are in `makoredis.data`."""

from makoredis.base.errors import ClientError
from makoredis.commands.registry import command
from makoredis.data import events
from makoredis.data import hyperloglog as dense
from makoredis.data import hyperloglog_sparse as sparse
from makoredis.data.access import Access
from makoredis.data.effects import SetRange, SpliceString
from makoredis.data.hyperloglog import CACHE_AT, SPARSE, STALE, STALE_AT, Corrupted
from makoredis.data.hyperloglog_sparse import SparseEditor
from resp.replies import OK, Reply, Simple

_NOT_A_HYPERLOGLOG = ClientError("WRONGTYPE Key is not a valid HyperLogLog string value.")
_CORRUPTED = ClientError("INVALIDOBJ Corrupted HLL object detected")
_NO_SUCH_KEY = ClientError("ERR The specified key does not exist")
_NOT_SPARSE = ClientError("ERR HLL encoding is not sparse")


def _get(access: Access, key: bytes) -> bytes | bytearray | None:
    """A HyperLogLog, None if there is no such key. Raises: ClientError when it holds something else."""
    value = access.string(key)
    if value is not None and not dense.is_valid(value):
        raise _NOT_A_HYPERLOGLOG
    return value


def _registers(value: bytes | bytearray) -> bytes:
    """All registers, one byte each. Raises: ClientError when the runs do not add up."""
    if value[4] != SPARSE:
        return dense.dense_registers(value)
    try:
        return sparse.registers(value)
    except Corrupted:
        raise _CORRUPTED from None


@command("PFADD", "Adds elements to a HyperLogLog key. Creates the key if it doesn't exist.")
def pfadd(access: Access, key: bytes, *elements: bytes) -> Reply:
    """Replies 1 if a register changed, or the key is new."""
    value = _get(access, key)
    wanted = [dense.register_of(element) for element in elements]
    if value is None:
        _create(access, key, wanted)
        is_changed = True
    elif value[4] == SPARSE:
        is_changed = _raise_sparse(access, key, value, wanted)
    else:
        is_changed = _raise_dense(access, key, value, wanted)
    if is_changed:
        access.notify(events.STRING, b"pfadd", key)
    return int(is_changed)


def _create(access: Access, key: bytes, wanted: list[tuple[int, int]]) -> None:
    editor = SparseEditor(sparse.EMPTY, access.space.config.hll_sparse_max_bytes)
    grown = _raised(editor, wanted)
    created = editor.data if grown is None else grown
    created[STALE_AT] |= STALE
    access.apply(SetRange(access.database.id, key, 0, bytes(created)))


def _raise_sparse(access: Access, key: bytes, value: bytes | bytearray, wanted: list[tuple[int, int]]) -> bool:
    """Raises registers of a stored sparse HyperLogLog; False if none is lower than wanted."""
    editor = SparseEditor(value, access.space.config.hll_sparse_max_bytes)
    size = len(value)
    grown = _raised(editor, wanted)
    if grown is not None:
        access.apply(SpliceString(access.database.id, key, 0, size, bytes(grown)))
    elif editor.start < size:
        start, tail = editor.start, editor.tail
        data = bytes(editor.data[start : len(editor.data) - tail])
        access.apply(SpliceString(access.database.id, key, start, size - tail - start, data))
    else:
        return False
    _invalidate(access, key, value)
    return True


def _invalidate(access: Access, key: bytes, value: bytes | bytearray) -> None:
    """Marks the estimate as out of date, if the header, as it was, does not say so."""
    if not value[STALE_AT] & STALE:
        access.apply(SetRange(access.database.id, key, STALE_AT, bytes([value[STALE_AT] | STALE])))


def _raised(editor: SparseEditor, wanted: list[tuple[int, int]]) -> bytearray | None:
    """Raises registers; returns the dense form if the sparse one cannot hold them, None if it does."""
    overflown = sparse.overflown(editor.data, wanted, editor.size_max)
    if overflown is not None:
        return overflown
    try:
        for at, (index, count) in enumerate(wanted):
            if editor.raise_register(index, count) is None:
                return _with_registers(sparse.to_dense(editor.data), wanted[at:])
    except Corrupted:
        raise _CORRUPTED from None
    return None


def _with_registers(value: bytearray, wanted: list[tuple[int, int]]) -> bytearray:
    """Raises registers of a dense HyperLogLog in place."""
    for index, count in wanted:
        if dense.dense_register(value, index) < count:
            at, data = dense.dense_change(value, index, count)
            value[at : at + len(data)] = data
    return value


def _raise_dense(access: Access, key: bytes, value: bytes | bytearray, wanted: list[tuple[int, int]]) -> bool:
    """Raises registers of a stored dense HyperLogLog; False if none is lower than wanted."""
    is_changed = False
    for index, count in wanted:
        if dense.dense_register(value, index) < count:
            at, data = dense.dense_change(value, index, count)
            access.apply(SetRange(access.database.id, key, at, data))
            value = access.string(key) or value
            is_changed = True
    if is_changed:
        _invalidate(access, key, value)
    return is_changed


@command("PFCOUNT", "Returns the approximated cardinality of the sets observed by the HyperLogLog keys.")
def pfcount(access: Access, *keys: bytes) -> Reply:
    """The estimate of one key is kept in it, as Redis does, unless this is a replica, which may not change anything."""
    if len(keys) > 1:
        return dense.estimate(dense.histogram(_union(access, keys)[0]))
    key = keys[0]
    value = _get(access, key)
    if value is None:
        return 0
    if not value[STALE_AT] & STALE:
        return int.from_bytes(value[CACHE_AT : CACHE_AT + 8], "little")
    count = dense.estimate(dense.histogram(_registers(value)))
    if not access.is_replica:
        access.apply(SetRange(access.database.id, key, CACHE_AT, (count & 2**64 - 1).to_bytes(8, "little")))
    return count


def _union(access: Access, keys: tuple[bytes, ...]) -> tuple[bytes, bool]:
    """The registers of several keys together, and whether one of them is dense."""
    registers = bytes(dense.REGISTER_COUNT)
    is_dense = False
    for key in keys:
        value = _get(access, key)
        if value is not None:
            is_dense = is_dense or value[4] != SPARSE
            registers = dense.merged(registers, _registers(value))
    return registers, is_dense


@command("PFMERGE", "Merges one or more HyperLogLog values into a single key.")
def pfmerge(access: Access, destination: bytes, *sources: bytes) -> Reply:
    """The destination counts as a source. Replies OK, and an estimate is out of date, also when nothing changed."""
    registers, is_dense = _union(access, (destination, *sources))
    old = _get(access, destination)
    wanted = [(index, count) for index, count in enumerate(registers) if count]
    if old is None and not is_dense:
        _create(access, destination, wanted)
    elif old is not None and not is_dense:
        if not _raise_sparse(access, destination, old, wanted):
            _invalidate(access, destination, old)
    else:
        header = bytearray((old or sparse.EMPTY)[: dense.HEADER_SIZE])
        header[4] = dense.DENSE
        header[STALE_AT] |= STALE
        _put_whole(access, destination, old, bytes(header) + dense.pack_dense(registers))
    access.notify(events.STRING, b"pfadd", destination)
    return OK


def _put_whole(access: Access, key: bytes, old: bytes | bytearray | None, new: bytes) -> None:
    """Makes a string a new one, leaving its deadline."""
    if old is None:
        access.apply(SetRange(access.database.id, key, 0, new))
    elif old != new:
        access.apply(SpliceString(access.database.id, key, 0, len(old), new))


@command("PFDEBUG", "Internal commands for debugging HyperLogLog values.")
def pfdebug(access: Access, subcommand: bytes, key: bytes) -> Reply:
    value = _get(access, key)
    if value is None:
        raise _NO_SUCH_KEY
    name = subcommand.upper()
    is_sparse = value[4] == SPARSE
    if name == b"ENCODING":
        return Simple(b"sparse" if is_sparse else b"dense")
    if name == b"DECODE":
        if not is_sparse:
            raise _NOT_SPARSE
        return sparse.describe(value)
    if name not in (b"GETREG", b"TODENSE"):
        raise ClientError(f"ERR Unknown PFDEBUG subcommand '{subcommand.decode(errors='replace')}'")
    registers = _registers(value)
    if is_sparse:
        _put_whole(access, key, value, bytes(sparse.to_dense(value)))
    return list(registers) if name == b"GETREG" else int(is_sparse)


_SELF_TEST_ELEMENTS = 1000
_SELF_TEST_ERROR_MAX = 0.05
"""Six standard errors of 1.04 / sqrt(16384)."""


@command("PFSELFTEST", "An internal command for testing HyperLogLog values.")
def pfselftest(access: Access) -> Reply:
    """Checks that both forms agree, and that the estimate is near. Redis adds ten million elements, for seconds."""
    registers = access.rng.randbytes(dense.REGISTER_COUNT).translate(bytes(range(64)) * 4)
    if dense.dense_registers(sparse.EMPTY[: dense.HEADER_SIZE] + dense.pack_dense(registers)) != registers:
        raise ClientError("ERR TESTFAILED registers differ")
    seed = access.rng.getrandbits(64)
    wanted = [dense.register_of((at ^ seed).to_bytes(8, "little")) for at in range(1, _SELF_TEST_ELEMENTS + 1)]
    editor = SparseEditor(sparse.EMPTY, dense.DENSE_SIZE)
    grown = _raised(editor, wanted)
    as_sparse = _registers(editor.data if grown is None else grown)
    as_dense = dense.dense_registers(_with_registers(sparse.to_dense(sparse.EMPTY), wanted))
    if as_sparse != as_dense:
        raise ClientError("ERR TESTFAILED dense/sparse disagree")
    error = abs(dense.estimate(dense.histogram(as_dense)) - _SELF_TEST_ELEMENTS)
    if error > _SELF_TEST_ERROR_MAX * _SELF_TEST_ELEMENTS:
        raise ClientError(f"ERR TESTFAILED Too big error. card:{_SELF_TEST_ELEMENTS} abserr:{error}")
    return OK
