"""What beat has sent is written down, whatever ends it."""

import subprocess
import sys
from datetime import datetime

import pytest

from conftest import Stage, wait_for

#: Seconds between two tasks of the schedule.
TICK = 5


class Beat:
    """A beat of a stage that can be killed and started again; its log is one."""

    def __init__(self, stage: Stage, hardened: bool = True) -> None:
        self.log = stage.directory / "beat.log"
        self.schedule = stage.directory / "schedule" / "file"
        self.schedule.parent.mkdir()
        launcher = ["-m", "rootstock_worker.run", "celery"] if hardened else ["-m", "celery"]
        options = ["beat", f"--schedule={self.schedule}", "--pidfile=", "--loglevel=INFO"]
        self.command = [sys.executable, *launcher, "-A", "victim", *options]
        self.environment = stage.environment | {
            "VICTIM_BROKER": stage.server.url("plain-app"),
            "VICTIM_TICK": str(TICK),
        }

    def start(self) -> None:
        with self.log.open("a") as output:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def times(self, message: str) -> list[float]:
        """When (seconds since 1970) it has logged the message."""
        lines = [line for line in self.log.read_text().splitlines() if message in line]
        return [datetime.strptime(line[1:24], "%Y-%m-%d %H:%M:%S,%f").timestamp() for line in lines]

    def has_noted_its_task(self) -> None:
        due = self.times("Sending due task")[-1]
        wait_for(lambda: self.schedule.stat().st_mtime > due, 3, "it is written down")


def sent(stage: Stage, times: int) -> None:
    wait_for(lambda: stage.broker.llen("one") >= times, 3 * TICK, f"task {times} was sent")


@pytest.mark.parametrize("hardened", [True, False])
def test_beat_that_was_killed_does_not_send_again(stage: Stage, hardened: bool) -> None:
    beat = Beat(stage, hardened)
    # The first run knows no earlier one: only after it there is something old to go by.
    beat.start()
    sent(stage, 1)
    beat.stop()
    beat.start()
    sent(stage, 2)
    if hardened:
        beat.has_noted_its_task()
    beat.kill()
    beat.start()
    sent(stage, 3)
    beat.kill()
    ticks, starts = beat.times("Sending due task"), beat.times("beat: Starting")
    if hardened:
        assert ticks[2] - ticks[1] > 0.9 * TICK
    else:
        assert ticks[2] - starts[2] < 2, "it was to send at once"


@pytest.mark.parametrize("content", [b"", b"\x80\x05", b"no pickle", b"\x80\x05K\x01."])
def test_a_file_that_is_no_schedule_is_replaced(stage: Stage, content: bytes) -> None:
    beat = Beat(stage)
    beat.schedule.write_bytes(content)
    beat.start()
    wait_for(lambda: beat.schedule.exists() and beat.schedule.read_bytes() != content, 20, "it is replaced")
    beat.kill()
    assert "Removing corrupted schedule file" in beat.log.read_text()
    assert b"tick" in beat.schedule.read_bytes()


def test_beat_that_cannot_write_goes_on_and_says_so(stage: Stage) -> None:
    beat = Beat(stage)
    beat.start()
    sent(stage, 1)
    beat.has_noted_its_task()
    # A directory in the place of the file that is written: also root cannot write it.
    (beat.schedule.parent / f".{beat.schedule.name}.new").mkdir()
    before = beat.schedule.read_bytes()
    sent(stage, 3)
    beat.kill()
    assert f"cannot be noted in {beat.schedule}" in beat.log.read_text()
    assert beat.schedule.read_bytes() == before
