"""Schedules of faults for `make chaos`."""

import re
from itertools import pairwise

import pytest

from chaos import nemesis, oracle
from chaos.schedule import KINDS, OWN_END, PROFILES, WHOLE_SERVER, Fault, Schedule, conflict, generate

SEEDS = range(100)


def overlaps(one: Fault, other: Fault) -> bool:
    return one.at <= other.at + other.lasts and other.at <= one.at + one.lasts


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_seed_gives_the_same_schedule_and_another_one_another(profile: str) -> None:
    assert generate(7, profile, 15, 20) == generate(7, profile, 15, 20)
    assert generate(7, profile, 15, 20) != generate(8, profile, 15, 20)


@pytest.mark.parametrize("profile", PROFILES)
def test_faults_that_exclude_each_other_never_last_together(profile: str) -> None:
    for seed in SEEDS:
        faults = generate(seed, profile, 15, 20).faults
        assert len(faults) == 20
        assert [
            (one, other)
            for number, one in enumerate(faults)
            for other in faults[number + 1 :]
            if conflict(one, other) and overlaps(one, other)
        ] == []


def test_some_faults_overlap_and_most_do_not() -> None:
    pairs = [pair for seed in SEEDS for pair in pairwise(generate(seed, "mixed", 15, 20).faults)]
    share = sum(overlaps(*pair) for pair in pairs) / len(pairs)
    assert 0.1 < share < 0.5


def test_every_kind_of_fault_is_drawn() -> None:
    drawn = {fault.kind for seed in SEEDS for fault in generate(seed, "mixed", 15, 20).faults}
    assert drawn == KINDS.keys()


def test_power_fails_during_deploys() -> None:
    faults = [generate(seed, "power", 15, 20).faults for seed in SEEDS]
    assert any(
        {one.kind, other.kind} == {"power", "deploy"} and overlaps(one, other)
        for each in faults
        for one, other in pairwise(each)
    )


def test_a_schedule_survives_being_stored() -> None:
    schedule = generate(3, "mixed", 15, 20)
    assert Schedule.from_json(schedule.to_json()) == schedule
    part = schedule.with_faults(schedule.faults[2:4])
    assert Schedule.from_json(part.to_json()) == part


def test_an_unknown_kind_or_profile_is_refused() -> None:
    unknown = Schedule(1, "mixed", 1, (Fault("flood", 0, 1),)).to_json()
    with pytest.raises(ValueError, match="unknown kinds of faults: flood"):
        Schedule.from_json(unknown)
    with pytest.raises(ValueError, match="SCHEDULE is weather: it is one of process, "):
        generate(1, "weather", 1, 1)


def test_the_text_of_a_schedule_names_all_faults() -> None:
    text = str(generate(3, "mixed", 15, 20))
    assert len(re.findall(r"^ +[\d.]+ s  [a-z-]+", text, re.MULTILINE)) == 20


def test_all_that_is_said_of_a_kind_is_said_of_one_that_there_is() -> None:
    assert nemesis.BREAKS.keys() == KINDS.keys()
    assert {kind for profile in PROFILES.values() for kind in profile} == KINDS.keys()
    for some in (oracle.DONE_AGAIN, oracle.UNNOTICED, oracle.WITHOUT_BEAT, OWN_END, WHOLE_SERVER):
        assert set(some) <= KINDS.keys()
    # A fault concerns the tasks of a pool exactly where it has one.
    pools = {kind for kind, of_a_pool in oracle.DONE_AGAIN.items() if of_a_pool}
    assert pools == {name for name, kind in KINDS.items() if kind.of_a_pool}
