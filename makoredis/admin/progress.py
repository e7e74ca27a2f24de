"""A progress bar on a terminal; nothing where the output goes elsewhere."""

import time
from typing import TextIO

WIDTH = 30
REDRAW_SECONDS = 0.1


class Progress:
    """`[#####.....]  52 %  1,234,567 keys`"""

    def __init__(self, stream: TextIO, total: int) -> None:
        """`total`: what `show` counts up to; 0 = unknown."""
        self._stream = stream
        self._total = total
        self._is_shown = stream.isatty()
        self._next_at = 0.0

    def show(self, done: int, text: str) -> None:
        """Draws it, at most ten times a second."""
        now = time.monotonic()
        if self._is_shown and now >= self._next_at:
            self._next_at = now + REDRAW_SECONDS
            part = min(1.0, done / self._total) if self._total else 0.0
            filled = round(WIDTH * part)
            bar = "#" * filled + "." * (WIDTH - filled)
            self._stream.write(f"\r[{bar}] {100 * part:3.0f} %  {text}\x1b[K")
            self._stream.flush()

    def end(self) -> None:
        """Takes the bar away."""
        if self._is_shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
