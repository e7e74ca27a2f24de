"""What participants conclude from each other's answers."""

from makoredis.txn.messages import Answer, Fate
from makoredis.txn.resolution import Inquiry


def answer(shard: int, fate: Fate) -> Answer:
    return Answer((1, 1), shard, fate, 5, [], [])


def test_all_frozen_means_aborted() -> None:
    inquiry = Inquiry((1, 2))
    assert inquiry.take(answer(1, Fate.FROZEN)) is None
    assert inquiry.take(answer(1, Fate.FROZEN)) is None
    assert inquiry.take(answer(2, Fate.FROZEN)) is Fate.ABORTED


def test_one_answer_that_is_definite_decides() -> None:
    assert Inquiry((1, 2)).take(answer(1, Fate.COMMITTED)) is Fate.COMMITTED
    assert Inquiry((1, 2)).take(answer(2, Fate.ABORTED)) is Fate.ABORTED
