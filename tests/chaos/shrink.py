"""The smallest list of faults that still fails: delta debugging (ddmin).

https://www.st.cs.uni-saarland.de/papers/tse2002/tse2002.pdf
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shrink(items: Sequence[T], fails: Callable[[list[T]], bool]) -> list[T]:
    """Returns a part of the items that still fails, and of which each item is needed.

    The whole list must fail; `fails` is not asked for it, nor for the same part twice, nor for no item.
    """
    current, parts = list(items), 2
    known: dict[tuple[int, ...], bool] = {}
    places = list(range(len(current)))

    def asked(kept: list[int]) -> bool:
        key = tuple(kept)
        if key not in known:
            known[key] = fails([current[place] for place in kept])
        return known[key]

    while len(places) > 1:
        size = -(-len(places) // parts)
        chunks = [places[start : start + size] for start in range(0, len(places), size)]
        rests = [[place for place in places if place not in chunk] for chunk in chunks]
        found = next((part for part in chunks if asked(part)), None)
        if found is not None:
            places, parts = found, 2
            continue
        # With two parts the rest of one is the other.
        found = next((rest for rest in rests if asked(rest)), None) if len(chunks) > 2 else None
        if found is not None:
            places, parts = found, max(2, len(chunks) - 1)
        elif len(chunks) == len(places):
            break
        else:
            parts = min(len(places), 2 * len(chunks))
    return [current[place] for place in places]
