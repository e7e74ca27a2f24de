"""The disk thread: everything queued since the last write goes to the disk as one batch (group commit).

The turn loop hands over once per turn (`submit`) and polls `wakeup_fd` together with its sockets; the thread writes,
then lists the tokens of what is written (`take_completed`). Order is kept: tokens complete in the order of submission.

On a quick disk the loop does better to write by itself and wait (`write`): the hand-over there and back costs two
changes of threads, an answer to the eventfd and a turn of its own, some 100 µs of processor time, and it has clients
come back in small groups. That is done while nothing is queued and writes take less than `DIRECT_SECONDS_MAX`.

* `sync`: a token completes when its operations are on the disk.
* `interval`: it completes when they are with the operating system; the disk has them within `SYNC_INTERVAL_SECONDS`,
  like Redis's `appendfsync everysec`.
* `memory`: it completes at once and nothing is written.

States: RUNNING; FULL when the disk is full, where all that was not written is kept in order until `recover` succeeds;
FAILED after any other error, for good, with the tokens in `take_failed`.

Measured (2 cores, `tools/storage_bench.py`): a synced batch of 1 / 100 / 1000 records of 100 B, encoding included,
takes 0.31 / 0.72 / 2.5 ms; 50 producers that each wait for their token get 105,000 acknowledgements/s with `sync`,
373,000 with `interval`.

Python's lock: `submit` makes the engine's batch in the loop's thread, and the disk thread only joins batches, because
each call into plyvel that gives up the interpreter's lock can cost the disk thread a switch interval to get it back.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from makoredis.base.errors import Busy, StorageError
from makoredis.storage.engine import Batch, Ops, ops_size
from makoredis.storage.errors import DiskFull
from makoredis.storage.store import Store

QUEUE_BYTES_MAX = 256 << 20
"""Submitted and not yet written; above it `submit` raises Busy."""
WRITE_BYTES_MAX = 8 << 20
"""One write takes no more than this from the queue (but at least one submission), which bounds its latency."""
SYNC_INTERVAL_SECONDS = 1.0
DIRECT_SECONDS_MAX = 0.005
"""While writes take no longer than this (a moving average), the loop may wait for them. All others wait meanwhile, also
those who only read, as they do in redis-server with `appendfsync always`, however long that takes there."""
DIRECT_BYTES_MAX = 1 << 20
"""Larger writes are the thread's."""
AVERAGED_WRITES = 8
"""So many writes make up that average."""

T = TypeVar("T")


class Durability(Enum):
    """What a completed token means."""

    SYNC = "sync"
    INTERVAL = "interval"
    MEMORY = "memory"


class DiskState(Enum):
    """How the thread is."""

    RUNNING = "running"
    FULL = "full"
    """The disk is full; what was not written is kept. `recover` leads back."""
    FAILED = "failed"
    """The disk failed; nothing is written any more. The node has to stop."""
    CLOSED = "closed"


class _Submission(Generic[T]):
    """Operations on their way to the disk, as a batch, or as they are while there is no engine to make one.

    With neither there is nothing to write, only a token that keeps its place in the order; its number is 0.
    """

    __slots__ = ("batch", "number", "ops", "size", "token")

    def __init__(self, number: int, ops: Ops, batch: Batch | None, size: int, token: T) -> None:
        self.number = number
        self.ops = ops
        self.batch = batch
        self.size = size
        self.token = token


class _Command(Enum):
    RECOVER = "recover"
    SYNC = "sync"
    """The loop has written something that is to be synced within the interval."""
    CLOSE = "close"


class DiskThread(Generic[T]):
    """Writes in the background. All methods are for one thread, the loop's.

    Invariants:
    * completed tokens are a prefix of submitted tokens, in order;
    * in `sync` mode a completed token's operations survive a power cut.
    """

    def __init__(
        self,
        store: Store,
        durability: Durability,
        on_wakeup: Callable[[], None] | None = None,
        *,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
        sync_interval_seconds: float = SYNC_INTERVAL_SECONDS,
    ) -> None:
        """
        Args:
            on_wakeup: called in the disk thread after each change that the loop should look at, beside `wakeup_fd`.
        """
        self.wakeup_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.durability = durability
        self.state = DiskState.RUNNING
        self.failure: StorageError | None = None
        """Why the state is FULL or FAILED."""
        self._store = store
        self._on_wakeup = on_wakeup
        self._queue_bytes_max = queue_bytes_max
        self._sync_interval_seconds = sync_interval_seconds
        self._queue: SimpleQueue[_Submission[T] | _Command] = SimpleQueue()
        self._completed: deque[T] = deque()
        self._failed: deque[T] = deque()
        self._submitted_bytes = self._submitted_count = 0  # written by the loop alone
        self._finished_bytes = self._finished_count = 0  # written by the disk thread alone
        self._unwritten: deque[_Submission[T]] = deque()
        self._unsynced_since: float | None = None
        self.write_count = 0
        self.last_write_seconds = 0.0
        self.average_write_seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self._thread.start()

    # For the loop.

    @property
    def queued_bytes(self) -> int:
        """Submitted and not yet completed."""
        return self._submitted_bytes - self._finished_bytes

    def submit(self, ops: Ops, token: T) -> None:
        """Queues operations to be written as one; `token` will be among the completed.

        Without operations the token completes after all that were submitted before, and nothing is written for it.

        Raises:
            Busy: too much is queued; nothing was done.
            StorageError: the disk failed before.
        """
        if self.durability is Durability.MEMORY:
            self._completed.append(token)
            os.eventfd_write(self.wakeup_fd, 1)
            return
        if self.state in (DiskState.FAILED, DiskState.CLOSED):
            raise self.failure or StorageError("the disk thread is closed")
        if self.queued_bytes > self._queue_bytes_max:
            raise Busy(f"{self.queued_bytes} bytes are waiting for the disk")
        self._submitted_count += 1
        if not ops:
            self._queue.put(_Submission(0, ops, None, 0, token))
            return
        size = ops_size(ops)
        number, ops = self._store.numbered(ops)
        # While full, the engine may be closed at any moment, so the batch is made when there is a new one.
        batch = self._store.engine.batch(ops) if self.state is DiskState.RUNNING else None
        self._submitted_bytes += size
        self._queue.put(_Submission(number, ops if batch is None else [], batch, size, token))

    def write(self, ops: Ops, token: T) -> bool:
        """Writes operations at once, where that is quick and keeps the order; otherwise submits them.

        Returns: whether they are written. The token is not among the completed then.
        Raises: as `submit`.
        """
        if (
            self._submitted_count != self._finished_count
            or self._completed
            or self.average_write_seconds > DIRECT_SECONDS_MAX
            or self.state is not DiskState.RUNNING
            or self.durability is Durability.MEMORY
            or ops_size(ops) > DIRECT_BYTES_MAX
        ):
            self.submit(ops, token)
            return False
        if ops:
            # The thread waits for its next order, so the store is this one's.
            number, ops = self._store.numbered(ops)
            try:
                started = time.perf_counter()
                self._store.write_numbered(ops, number, sync=self.durability is Durability.SYNC)
                self._note_write(started)
            except DiskFull as error:
                self.failure = error
                self.state = DiskState.FULL
                self._keep(_Submission(number, ops, None, ops_size(ops), token))
                return False
            except StorageError as error:
                self.failure = error
                self.state = DiskState.FAILED
                self._failed.append(token)
                raise
            if self.durability is Durability.INTERVAL and self._unsynced_since is None:
                self._unsynced_since = time.monotonic()
                self._queue.put(_Command.SYNC)
        return True

    def _keep(self, submission: "_Submission[T]") -> None:
        """Leaves to the thread what did not fit on the disk; it keeps that until there is space."""
        self._submitted_count += 1
        self._submitted_bytes += submission.size
        self._queue.put(submission)
        os.eventfd_write(self.wakeup_fd, 1)

    def take_completed(self) -> list[T]:
        """The tokens completed since the last call, in order. Resets `wakeup_fd`."""
        if self.state is not DiskState.CLOSED:
            _drain(self.wakeup_fd)
        return _take_all(self._completed)

    def take_failed(self) -> list[T]:
        """The tokens whose operations may or may not be on the disk, once the state is FAILED or CLOSED."""
        if self.state is DiskState.FAILED:
            # What was submitted while the thread was ending is still in the queue.
            while (item := self._poll()) is not None:
                if not isinstance(item, _Command):
                    self._failed.append(item.token)
        return _take_all(self._failed)

    def recover(self) -> None:
        """Asks for an attempt to leave FULL: gives up the ballast, opens the store anew, writes what was kept.

        The outcome shows in `state`, with a wake-up. Without effect in another state.
        """
        self._queue.put(_Command.RECOVER)

    def close(self) -> None:
        """Writes what is queued, syncs (`interval` too), ends the thread. The store stays open.

        What completed can still be taken afterwards.
        """
        self._queue.put(_Command.CLOSE)
        self._thread.join()
        os.close(self.wakeup_fd)

    # In the disk thread.

    def _run(self) -> None:
        try:
            while self.state is not DiskState.CLOSED:
                self._turn(self._next())
        except StorageError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 -- the thread ends here; the loop has to hear of it
            self._fail(StorageError(f"the disk thread broke: {error!r}"))

    def _next(self) -> _Submission[T] | _Command | None:
        """What comes next from the queue; None when it is time for a sync."""
        if self._unsynced_since is None or self.state is DiskState.FULL:
            return self._queue.get()
        due = self._unsynced_since + self._sync_interval_seconds - time.monotonic()
        try:
            return self._queue.get(timeout=max(0.0, due))
        except Empty:
            return None

    def _turn(self, item: _Submission[T] | _Command | None) -> None:
        command: _Command | None = None
        while item is not None:
            if isinstance(item, _Command):
                command = item
                break
            self._unwritten.append(item)
            item = self._poll()
        try:
            if command is _Command.RECOVER and self.state is DiskState.FULL:
                self._reopen()
            if self.state is DiskState.RUNNING:
                self._write_all()
                self._sync_if_due(now=command is _Command.CLOSE)
        except DiskFull as error:
            self.failure = error
            self.state = DiskState.FULL
            self._wake()
        if command is _Command.CLOSE:
            self._failed.extend([submission.token for submission in self._unwritten])
            self.state = DiskState.CLOSED

    def _poll(self) -> _Submission[T] | _Command | None:
        try:
            return self._queue.get_nowait()
        except Empty:
            return None

    def _write_all(self) -> None:
        """Writes what was taken from the queue, in bounded batches."""
        unwritten = self._unwritten
        while unwritten:
            group: list[_Submission[T]] = []
            size = 0
            for submission in unwritten:
                if group and size + submission.size > WRITE_BYTES_MAX:
                    break
                group.append(submission)
                size += submission.size
            self._write_group(group)
            for _ in group:
                unwritten.popleft()
            self._completed.extend([submission.token for submission in group])
            self._finished_bytes += size
            self._finished_count += len(group)
            self._wake()

    def _write_group(self, group: list[_Submission[T]]) -> None:
        """One write for all that have operations."""
        number = max(submission.number for submission in group)
        if number == 0:
            return
        batches = []
        for submission in group:
            if submission.batch is None and submission.ops:
                submission.batch = self._store.engine.batch(submission.ops)
            if submission.batch is not None:
                batches.append(submission.batch)
        started = time.perf_counter()
        self._store.write(batches, number, sync=self.durability is Durability.SYNC)
        self._note_write(started)
        if self.durability is Durability.INTERVAL and self._unsynced_since is None:
            self._unsynced_since = time.monotonic()

    def _note_write(self, started: float) -> None:
        seconds = time.perf_counter() - started
        self.last_write_seconds = seconds
        self.average_write_seconds += (seconds - self.average_write_seconds) / AVERAGED_WRITES
        self.write_count += 1

    def _sync_if_due(self, *, now: bool) -> None:
        """In `interval` mode: syncs once an interval while there is something to sync."""
        since = self._unsynced_since
        if since is None:
            return
        if now or time.monotonic() >= since + self._sync_interval_seconds:
            self._unsynced_since = None  # before: what the loop writes during the sync is not part of it
            self._store.sync()

    def _reopen(self) -> None:
        """Opens the store anew with the ballast's space; stays FULL if that is not enough."""
        self._store.space.release_ballast()
        try:
            self._store.reopen()
        except DiskFull as error:
            self.failure = error
            self._wake()
            return
        self.state = DiskState.RUNNING
        self.failure = None
        self._write_all()
        self._wake()

    def _fail(self, error: StorageError) -> None:
        """Keeps the error for good and hands back all that was not written."""
        self._failed.extend([submission.token for submission in self._unwritten])
        self._unwritten.clear()
        self.failure = error
        self.state = DiskState.FAILED
        self._wake()

    def _wake(self) -> None:
        os.eventfd_write(self.wakeup_fd, 1)
        if self._on_wakeup is not None:
            self._on_wakeup()


def _take_all(queue: deque[T]) -> list[T]:
    """Empties a deque that another thread appends to."""
    return [queue.popleft() for _ in range(len(queue))]


def _drain(descriptor: int) -> None:
    try:
        os.eventfd_read(descriptor)
    except BlockingIOError:
        return
