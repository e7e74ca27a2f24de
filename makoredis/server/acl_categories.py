"""ACL categories of a command: those its row names, and those that follow from its flags, as in Redis."""

from makoredis.commands.table import CommandRow

_NAMES = """
keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin fast slow blocking
dangerous connection transaction scripting
"""
ALL_CATEGORIES = tuple(_NAMES.split())


def categories_of(row: CommandRow) -> frozenset[str]:
    """The categories, without their `@`."""
    found = set(row.row["acl_categories"])
    flags = row.flags
    if "write" in flags:
        found.add("write")
    if "readonly" in flags and "scripting" not in found:
        found.add("read")
    if "admin" in flags:
        found.update(("admin", "dangerous"))
    if "pubsub" in flags:
        found.add("pubsub")
    if "blocking" in flags:
        found.add("blocking")
    found.add("fast" if "fast" in flags else "slow")
    return frozenset(found)
