"""The oracle of `make chaos`, with made-up histories: each violation once, and what is none."""

from dataclasses import replace
from typing import Any

import pytest

from chaos.history import Event, Execution, History, Left, Publication, Sample, publications
from chaos.oracle import judge

TASK = Publication("r/1", "short", "default", 100, ("r/1",), acknowledged=100.1)
DONE = Execution("r/1", 100.2, 100.3, "default.aa@one")
KILL = Event("kill-worker", "default", 100.25, 100.5)


def history(*tasks: Publication, runs: tuple[Execution, ...] = (), **other: Any) -> History:
    found = History(0, 200, 300, list(tasks), list(runs), other.pop("events", []))
    for name, value in other.items():
        setattr(found, name, value)
    return found


def test_a_run_without_a_fault_has_no_violation() -> None:
    verdict = judge(history(TASK, runs=(DONE,), ticks=[10, 20, 30], samples=[Sample(150, "healthy")]))
    assert verdict.violations == []
    assert (verdict.figures["acknowledged"], verdict.figures["lost"]) == (1, 0)


ETA = replace(TASK, kind="eta", due=130)
EXPIRES = replace(TASK, kind="expires", expires=101)
CHAIN = replace(TASK, kind="chain", keys=("r/1.0", "r/1.1"))
STEPS = (replace(DONE, key="r/1.0"), Execution("r/1.1", 100.4, 100.5, "default.aa@one"))
CHORD = replace(TASK, kind="chord", keys=("r/1.0", "r/1.1", "r/1.body"))
PARTS = (*STEPS, Execution("r/1.body", 101, 101.1, "default.aa@one"))
STUCK = Left("r/1", "default.aa@one|x|1|2", False, 100.2)
AGAIN = replace(DONE, started=110, finished=110.1)
BLIND = Sample(290, "healthy")
LONG = [replace(TASK, key=f"r/{number}", keys=(f"r/{number}",), kind="long") for number in (8, 9)]
REDONE = [replace(DONE, key=task.key, started=215, finished=290) for task in LONG]


@pytest.mark.parametrize(
    ("seen", "kinds"),
    [
        (history(TASK), ["lost"]),
        (history(CHAIN, runs=STEPS[:1]), ["lost"]),
        (history(TASK, runs=(DONE, replace(DONE, key="r/2"))), ["unexpected"]),
        (history(TASK, runs=(DONE, AGAIN)), ["duplicated"]),
        # It waited in its queue while Redis was killed, and the database was there.
        (
            history(
                TASK,
                runs=(replace(DONE, started=150, finished=151), replace(AGAIN, started=152, finished=153)),
                events=[Event("kill-redis", "", 120, 121)],
            ),
            ["duplicated"],
        ),
        (history(ETA, runs=(replace(DONE, started=129, finished=129.1),)), ["early"]),
        (history(CHAIN, runs=(STEPS[0], replace(STEPS[1], started=100.21))), ["early"]),
        (history(CHORD, runs=(*STEPS, replace(PARTS[2], started=100.45))), ["early"]),
        (history(EXPIRES, runs=(replace(DONE, started=110, finished=111),)), ["expired"]),
        (history(TASK, left=[STUCK]), ["stuck"]),
        (history(replace(TASK, kind="once"), left=[STUCK]), ["stuck"]),
        (history(TASK, dead_letters=["r/1"]), ["set aside"]),
        (history(TASK, runs=(DONE,), ticks=[10, 20, 22]), ["beat doubled"]),
        (history(TASK, runs=(DONE,), ticks=[10, 20, 40, 40, 40]), ["beat doubled"]),
        (history(TASK, runs=(DONE,), ticks=[10, 34]), ["beat missed"]),
        (history(TASK, runs=(DONE,), request_failures=[(150, "page 502")]), ["request failed"]),
        (history(TASK, runs=(DONE,), orders_unfinished=1), ["order unfinished"]),
        (history(TASK, runs=(DONE,), leftovers=["lock of x"]), ["left over"]),
        (history(TASK, runs=(DONE,), unhealthy=["beat is FATAL"]), ["not healthy"]),
        (history(TASK, runs=(DONE,), failed_deploys=["no"]), ["deploy failed"]),
        (history(TASK, runs=(DONE,), samples=[Sample(250, "unhealthy")]), ["false alarm"]),
        (history(TASK, samples=[BLIND]), ["lost", "status lie"]),
        (history(TASK, left=[STUCK], samples=[BLIND]), ["status lie", "stuck"]),
        # Nobody works for a minute and more, and the status is content.
        (
            history(TASK, runs=(replace(DONE, started=180, finished=181),), samples=[Sample(170, "healthy")]),
            ["status lie"],
        ),
        # One process had nothing to do.
        (
            history(
                TASK,
                LONG[0],
                runs=(replace(DONE, started=295, finished=296), REDONE[0]),
                samples=[Sample(190, "healthy")],
                events=[Event("power", "", 200, 210)],
            ),
            ["status lie"],
        ),
    ],
)
def test_each_violation_is_found(seen: History, kinds: list[str]) -> None:
    assert judge(seen).kinds == kinds


@pytest.mark.parametrize(
    "seen",
    [
        # Not acknowledged: whether it was published is not known.
        history(replace(TASK, acknowledged=None, error="TimeoutError: x")),
        # May be done or not.
        *(history(replace(TASK, kind=kind)) for kind in ("expires", "revoked", "once")),
        # Was being done when its worker was killed.
        history(TASK, runs=(DONE, AGAIN), events=[KILL]),
        # Its retries go on after the kill.
        history(
            replace(TASK, kind="retry"),
            runs=(replace(DONE, started=120, finished=121), replace(AGAIN, started=122, finished=123)),
            events=[KILL],
        ),
        # Failed at the database, without a row, while Redis was killed.
        history(
            TASK,
            runs=(replace(DONE, started=150, finished=151), replace(AGAIN, started=152, finished=153)),
            events=[Event("cut-postgresql", "", 100, 130), Event("kill-redis", "", 120, 121)],
        ),
        # All processes were busy with long tasks, until the power failed.
        history(
            TASK,
            *LONG,
            runs=(replace(DONE, started=295, finished=296), *REDONE),
            samples=[Sample(190, "healthy")],
            events=[Event("power", "", 200, 210)],
        ),
        history(CHAIN, runs=STEPS),
        history(CHORD, runs=PARTS),
        history(ETA, runs=(replace(DONE, started=129.8, finished=129.9),)),
        history(EXPIRES, runs=(replace(DONE, started=103, finished=104),)),
        # On its way.
        history(TASK, left=[replace(STUCK, known=True)]),
        # Beat was not there, or could not send.
        history(TASK, runs=(DONE,), ticks=[10, 50], events=[Event("freeze-beat", "", 12, 40)]),
        # The late tick, and at once the next one.
        history(TASK, runs=(DONE,), ticks=[10, 50, 50, 60], events=[Event("cut-redis", "", 12, 48)]),
        # A visitor may notice it.
        history(
            TASK,
            runs=(DONE,),
            request_failures=[(150, "page 502")],
            events=[Event("kill-web-master", "", 149.9, 150)],
        ),
        # The status says what is wrong, or has not had its minute.
        history(
            TASK,
            runs=(replace(DONE, started=180, finished=181),),
            samples=[Sample(150, "healthy"), Sample(170, "unhealthy")],
            events=[Event("freeze-worker", "default", 99, 179)],
        ),
    ],
)
def test_what_is_no_violation(seen: History) -> None:
    assert judge(seen).violations == []


@pytest.mark.parametrize(
    "event",
    [replace(KILL, target="critical"), replace(KILL, begun=105, ended=106), replace(KILL, kind="kill-nginx")],
)
def test_a_fault_elsewhere_or_later_explains_no_duplicate(event: Event) -> None:
    verdict = judge(history(TASK, runs=(DONE, AGAIN), events=[event]))
    assert verdict.kinds == ["duplicated"]
    assert verdict.figures["duplicated beyond in flight"] == 1


def test_a_fault_that_nobody_may_notice_excuses_no_failed_request() -> None:
    seen = history(TASK, runs=(DONE,), request_failures=[(150, "page 502")])
    seen.events = [Event("deploy", "", 140, 160)]
    assert judge(seen).kinds == ["request failed"]


def test_tasks_acknowledged_early_are_told_apart() -> None:
    verdict = judge(history(replace(TASK, kind="once"), TASK, runs=()))
    assert verdict.figures["lost with acks_late=False"] == 1
    assert verdict.lost == {"short": 1}


def test_errors_are_counted_by_their_cause() -> None:
    refused = [
        replace(TASK, key=f"r/{number}", acknowledged=None, error="TimeoutError: x") for number in (1, 2)
    ]
    seen = history(*refused, request_failures=[(1, "page 502")], crashes={"OutOfMemoryError": 3})
    assert judge(seen).errors == {
        "publish: TimeoutError": 2,
        "request: page 502": 1,
        "worker: OutOfMemoryError": 3,
    }


def test_a_history_survives_being_stored() -> None:
    seen = history(
        CHORD,
        runs=PARTS,
        events=[KILL],
        left=[STUCK],
        samples=[Sample(1, "unhealthy", ("why",))],
        request_failures=[(1, "page 502")],
    )
    assert History.from_json(seen.to_json()) == seen


def test_the_ledger_is_read_and_a_line_that_was_cut_is_left_out() -> None:
    text = (
        '["attempted", "r/1", "eta", "default", 100, {"keys": ["r/1"], "due": 130, "expires": null}]\n'
        '["acknowledged", "r/1", 100.1]\n'
        '["attempted", "r/2", "short", "critical", 101, {"keys": ["r/2"], "due": null, "expires": null}]\n'
        '["failed", "r/2", "TimeoutError: x"]\n'
        '["stopped"]\n'
        '["attempted", "r/3"'
    )
    assert publications(text) == [
        replace(ETA),
        Publication("r/2", "short", "critical", 101, ("r/2",), error="TimeoutError: x"),
    ]
    with pytest.raises(ValueError, match="not an entry of a ledger"):
        publications('["lost"]\n')
