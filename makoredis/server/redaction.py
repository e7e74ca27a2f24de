"""What MONITOR and the slow log do not show: passwords."""

from collections.abc import Sequence

HIDDEN = b"(redacted)"
_SECRET_PARAMETERS = frozenset((b"requirepass", b"masterauth", b"masteruser", b"tls-key-file-pass"))


def redacted(argv: Sequence[bytes]) -> Sequence[bytes]:
    """A request with its secrets hidden."""
    name = argv[0].upper()
    if name == b"AUTH":
        return [argv[0], *([HIDDEN] * (len(argv) - 1))]
    if name == b"HELLO":
        return _hide_after(argv, b"AUTH", 2)
    if name == b"ACL" and len(argv) > 2 and argv[1].upper() == b"SETUSER":
        return [*argv[:2], *([HIDDEN] * (len(argv) - 2))]
    if name == b"CONFIG" and len(argv) > 3 and argv[1].upper() == b"SET":
        return _hide_parameters(argv)
    if name == b"MIGRATE":
        return _hide_after(_hide_after(argv, b"AUTH", 1), b"AUTH2", 2)
    return argv


def _hide_after(argv: Sequence[bytes], word: bytes, count: int) -> Sequence[bytes]:
    for at in range(1, len(argv)):
        if argv[at].upper() == word:
            hidden = min(count, len(argv) - at - 1)
            return [*argv[: at + 1], *([HIDDEN] * hidden), *argv[at + 1 + hidden :]]
    return argv


def _hide_parameters(argv: Sequence[bytes]) -> Sequence[bytes]:
    shown = list(argv)
    for at in range(2, len(argv) - 1, 2):
        if argv[at].lower() in _SECRET_PARAMETERS:
            shown[at + 1] = HIDDEN
    return shown
