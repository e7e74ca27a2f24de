"""The ways a disk disappoints: full, damaged, taken, or failing. Each message names the place and what to do."""

from makoredis.base.errors import StorageError

REPAIR_ADVICE = (
    "do not start a node on it as it is: restore a backup into an empty directory, or, if there are other replicas, "
    "start this node with --repair"
)


class DiskFull(StorageError):
    """A write found no space. What was queued is kept and can be written once there is space again."""


class Damaged(StorageError):
    """What is on the disk is not what was written to it."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(f"{place}: {what}; {REPAIR_ADVICE}")
        self.place = place
        self.what = what


class DirectoryRefused(StorageError):
    """The data directory is not one this node may open: another process has it, or it is not this node's."""
