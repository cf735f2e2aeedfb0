"""Two texts side by side: which word of one stands for which word of the other."""

from __future__ import annotations

from collections.abc import Sequence

Pair = tuple[int | None, int | None]


def align(first: Sequence[str], second: Sequence[str]) -> list[Pair]:
    """An alignment with the fewest insertions, deletions and substitutions.

    Of alignments that need as many, one with the most equal words is taken, and then one that
    pairs words as late as it can.

    Args:
        first: words.
        second: words.

    Returns:
        Pairs of places in order; None where the other text has a word more.

    Example:
        >>> align(["three", "nine", "five"], ["three", "five", "six"])
        [(0, 0), (1, None), (2, 1), (None, 2)]
    """
    # costs[i][j]: (errors, minus the equal words) of the first i words against the first j.
    costs = [[(j, 0) for j in range(len(second) + 1)]]
    for i, word in enumerate(first):
        row = [(i + 1, 0)]
        for j, other in enumerate(second):
            errors, equal = costs[i][j]
            paired = (errors, equal - 1) if word == other else (errors + 1, equal)
            deleted = (costs[i][j + 1][0] + 1, costs[i][j + 1][1])
            inserted = (row[j][0] + 1, row[j][1])
            row.append(min(paired, deleted, inserted))
        costs.append(row)
    pairs: list[Pair] = []
    i, j = len(first), len(second)
    while i or j:
        here = costs[i][j]
        if i and j:
            errors, equal = costs[i - 1][j - 1]
            same = first[i - 1] == second[j - 1]
            if here == ((errors, equal - 1) if same else (errors + 1, equal)):
                i, j = i - 1, j - 1
                pairs.append((i, j))
                continue
        if i and here == (costs[i - 1][j][0] + 1, costs[i - 1][j][1]):
            i -= 1
            pairs.append((i, None))
        else:
            j -= 1
            pairs.append((None, j))
    return pairs[::-1]
