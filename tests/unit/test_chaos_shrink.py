"""The smallest failing part of a list of faults."""

from collections.abc import Callable

import pytest

from chaos.shrink import shrink


def needs(*items: int) -> Callable[[list[int]], bool]:
    return lambda part: set(items) <= set(part)


@pytest.mark.parametrize("wanted", [(0,), (19,), (3, 4), (0, 19), (2, 9, 17), tuple(range(20))])
def test_what_is_needed_is_left_and_nothing_else(wanted: tuple[int, ...]) -> None:
    assert shrink(range(20), needs(*wanted)) == list(wanted)


def test_one_of_several_reasons_is_enough() -> None:
    found = shrink(range(16), lambda part: {1, 2} <= set(part) or {12} <= set(part))
    assert found in ([1, 2], [12])


def test_a_single_item_is_not_asked_for() -> None:
    def never(_: list[int]) -> bool:
        raise AssertionError("asked")

    assert shrink([5], never) == [5]
    assert shrink([], never) == []


def test_nothing_is_asked_twice_and_never_for_nothing() -> None:
    asked: list[tuple[int, ...]] = []

    def fails(part: list[int]) -> bool:
        asked.append(tuple(part))
        return {3, 11} <= set(part)

    assert shrink(range(20), fails) == [3, 11]
    assert len(asked) == len(set(asked)) < 60
    assert () not in asked
    assert tuple(range(20)) not in asked


def test_the_order_of_faults_is_kept() -> None:
    assert shrink([5, 1, 4, 2], lambda part: {5, 2} <= set(part)) == [5, 2]
