"""What is wrong with an RDB payload or file."""


class BadFormat(Exception):
    """The bytes are not what they claim to be. `position` is where reading stopped, from the file's beginning."""

    def __init__(self, text: str, position: int | None = None) -> None:
        super().__init__(text if position is None else f"{text} (at byte {position})")
        self.text = text
        self.position = position


class EmptyCollection(BadFormat):
    """A collection without elements, read to its end. Old versions of Redis saved such keys by mistake."""
