"""What the benchmarks make of their figures."""

import common
import converge
import growth


def test_a_bar_in_a_cell_is_no_new_column() -> None:
    assert common.table(["Task", "s"], ["a | b", 1]) == ["| Task | s |", "|---|---|", "| a \\| b | 1 |"]


def test_figures_of_all_hosts_are_added() -> None:
    run = common.Played(1.0, "one : ok=3 changed=1\ntwo : ok=4 changed=0\n")
    assert (run.total("ok"), run.total("changed")) == (7, 1)


def test_a_further_server_is_compared_with_the_first_of_the_same_round() -> None:
    assert growth.shares({1: [10, 20], 2: [13, 26], 4: [19, 80]}) == {2: [0.3, 0.3], 4: [0.3, 1.0]}


def test_ratios_are_those_of_each_round() -> None:
    assert converge.ratio({converge.OURS: [20, 90, 30], converge.FLOOR: [10, 30, 20]}) == 2
