"""Numbers as Redis writes and reads them.

A `double` is written with `%.17g`, so 0.1 is answered as `0.10000000000000001`.
"""

from __future__ import annotations


def format_double(value: float) -> bytes:
    """Writes a score or another double with 17 significant digits; the infinities as `inf` and `-inf`."""
    return b"%.17g" % value
