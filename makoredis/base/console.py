"""What a process says on its console: one line per event, with the time and how much it matters.

`2026-11-22T00:28:44.123Z warning: …`: ISO 8601 with milliseconds, in UTC, so that the lines of several machines can be
put in order. A traceback follows its line without a time of its own.

A line that cannot be written (the console is a file on a full disk, or a pipe that nobody reads any more) is lost: no
node stops for it. So it goes past Python's buffer, which would keep it and fail again with every later line.
"""

import os
import sys
import time

STDOUT = 1
"""The file descriptor."""


def log(level: str, text: str) -> None:
    """One line."""
    say(line(level, text))


def line(level: str, text: str) -> str:
    """Something that happens now, in the form that all lines have."""
    return f"{time_text(time.time())} {level}: {text}"


def announce(text: str) -> None:
    """One line at the start: as it is for people at a terminal, with the time for everything else."""
    if sys.__stdout__ is not None and sys.__stdout__.isatty():
        say(text)
    else:
        log("info", text)


def say(text: str) -> None:
    """One line as it is."""
    if sys.__stdout__ is None:
        return  # it was closed at the start, and its number may be that of another file by now
    try:
        os.write(STDOUT, f"{text}\n".encode(errors="replace"))
    except OSError:
        return  # there is nowhere else to say it


def time_text(seconds: float) -> str:
    """A wall time as ISO 8601 has it."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03}Z"
