"""How much work in the background one tick does, so that requests are not held up."""

import time


class Pace:
    """A share of each tick, by the clock. A simulation has one of its own that counts, so that a seed repeats."""

    def __init__(self, seconds: float, pieces_between_looks: int = 1) -> None:
        """
        Args:
            pieces_between_looks: how many pieces of work are done before the clock is looked at; one is always done.
        """
        self.seconds = seconds
        self.pieces_between_looks = pieces_between_looks
        self._until = 0.0
        self._pieces = 0

    def start(self) -> "Pace":
        """A tick begins. Returns: itself."""
        self._until = time.monotonic() + self.seconds
        self._pieces = 0
        return self

    def is_over(self) -> bool:
        """Whether that was enough for this tick. To be asked behind each piece of work."""
        self._pieces += 1
        return self._pieces % self.pieces_between_looks == 0 and time.monotonic() > self._until
