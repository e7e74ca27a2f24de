"""The three kinds of error, and no fourth.

* `ClientError`: the client's doing. Deterministic; becomes an error reply with Redis's exact text.
* `Retryable`: true now, maybe not in a moment. Retried inside, or turned into a redirect or try-again reply.
* `Fatal`: an invariant is broken or the disk failed. The node stops with the message, because going on could lose
  something acknowledged.
"""

from makoredis.base.ids import NodeId


class ClientError(Exception):
    """An error reply. `text` starts with the code: `ERR …`, `WRONGTYPE …`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class CountedError(ClientError):
    """An error of a command in a script that the script passes on: it was counted when it arose."""


class SubcommandError(ClientError):
    """A number of arguments that a subcommand's arity lets through, and the subcommand does not."""

    def __init__(self, container: str, subcommand: str) -> None:
        super().__init__(
            f"ERR unknown subcommand or wrong number of arguments for '{subcommand}'. Try {container} HELP."
        )
        self.container = container

    def as_sent(self, word: bytes) -> "SubcommandError":
        """The same, with the subcommand as the client has written it."""
        return SubcommandError(self.container, printable(word))


class Retryable(Exception):
    """The request was not executed; the same request may succeed later or elsewhere."""


class NotLeader(Retryable):
    """This replica does not lead its shard. `hint` is the leader it last heard of, None when unknown."""

    def __init__(self, hint: NodeId | None) -> None:
        super().__init__(f"not the leader (hint: {hint})")
        self.hint = hint


class Busy(Retryable):
    """A bounded queue is full: nothing was done."""


class Fatal(Exception):
    """The node must stop. The message names the place and what to do."""


class StorageError(Fatal):
    """The log or the state on disk cannot be read or written."""


def printable(raw: bytes) -> str:
    """A client's bytes inside an error text, which come out as they are: up to the first zero byte, where C's strings
    end."""
    return raw.partition(b"\0")[0].decode(errors="surrogateescape")
