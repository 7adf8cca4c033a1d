"""What the benchmarks make of their figures."""

import common
import converge
import growth
import unchanged
import workload
from repository import PROJECT, load

PROFILE = """PLAY RECAP ***
server                     : ok=2    changed=0

TASKS RECAP ********************************************************************
Friday 27 November 2026  07:00:00 +0000 (0:00:00.721)       0:00:05.322 ***********
===============================================================================
redis : install | Package ----------------------------------------------- 1.21s
a - b -- c -------------------------------------------------------------- 0.10s
"""


def test_a_bar_in_a_cell_is_no_new_column() -> None:
    assert common.table(["Task", "s"], ["a | b", 1]) == ["| Task | s |", "|---|---|", "| a \\| b | 1 |"]


def test_figures_of_all_hosts_are_added() -> None:
    run = common.Played(1.0, 0.5, "one : ok=3 changed=1\ntwo : ok=4 changed=0\n")
    assert (run.total("ok"), run.total("changed")) == (7, 1)


def test_a_further_server_is_compared_with_the_first_of_the_same_round() -> None:
    assert growth.shares({1: [10, 20], 2: [13, 26], 4: [19, 80]}) == {2: [0.3, 0.3], 4: [0.3, 1.0]}


def test_the_slowest_tasks_are_read_with_their_whole_names() -> None:
    assert unchanged.slowest(PROFILE) == [("redis : install | Package", 1.21), ("a - b -- c", 0.1)]


def test_ratios_are_those_of_each_round() -> None:
    assert converge.ratio({converge.OURS: [20, 90, 30], converge.FLOOR: [10, 30, 20]}) == 2
    rates = {workload.OURS: [30.0, 20, 10], workload.ARTICLE: [10.0, 10, 10]}
    assert workload.times(rates, workload.OURS, workload.ARTICLE) == 2


def test_each_limit_of_the_workload_is_judged() -> None:
    measured = {
        workload.NO_OP: {workload.OURS: [15.0], workload.ARTICLE: [10.0]},
        workload.IO: {workload.WAITING: [39.0], workload.ARTICLE: [10.0]},
    }
    asked = {workload.ARTICLE: {workload.OURS: 3.0, workload.ARTICLE: 3.0}}
    order = {"p50": 10.0, "p99": 31.0}
    result = {"measured": measured, "order_ms": order, "redis_commands_per_second": asked}
    assert list(workload.limits(result).values()) == [True, False, False, True]


def test_each_of_the_peers_has_a_version() -> None:
    assert all(role["version"] for role in load(PROJECT / "bench/peers.yml")["roles"])
