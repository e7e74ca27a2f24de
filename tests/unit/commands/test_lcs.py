"""LCS against the classic table."""

from hypothesis import given
from hypothesis import strategies as st

from makoredis.commands.lcs import _length, _matches


def _table(a: bytes, b: bytes) -> list[list[int]]:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, left in enumerate(a, 1):
        for j, right in enumerate(b, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if left == right else max(table[i - 1][j], table[i][j - 1])
    return table


_texts = st.text("abc", max_size=30).map(str.encode)


@given(_texts, _texts)
def test_length(a: bytes, b: bytes) -> None:
    assert _length(a, b) == _table(a, b)[-1][-1]


@given(_texts, _texts)
def test_matches_are_a_longest_common_subsequence(a: bytes, b: bytes) -> None:
    matches = _matches(a, b)[::-1]
    assert sum(end - start + 1 for (start, end), _ in matches) == _table(a, b)[-1][-1]
    at_a = at_b = -1
    for (start_a, end_a), (start_b, end_b) in matches:
        assert start_a > at_a and start_b > at_b
        assert a[start_a : end_a + 1] == b[start_b : end_b + 1]
        at_a, at_b = end_a, end_b
