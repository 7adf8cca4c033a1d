"""Logs every task that ran to its end on a host and, on request, dies right after one of them.

INTERRUPTION_LOG   file to which a line is written for each: seconds since the epoch, status, name
INTERRUPTION_AFTER number of the task (counted from 1) after which this process kills itself

Tasks that were skipped change nothing and are no boundaries. SIGKILL, because a controller that loses its
power runs no handler and closes nothing in order. Between two tasks there are no workers to kill: the
linear strategy waits for all hosts before it starts the next task.
"""

import os
import signal
import time
from pathlib import Path

from ansible.executor.task_result import CallbackTaskResult
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: task_log
type: notification
short_description: Logs the tasks of a run, and can end the run after one of them
description: See the module.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible has no types
    """One line per task and host; the process ends after the line whose number was asked for."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "task_log"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.log = Path(os.environ["INTERRUPTION_LOG"])
        self.last = int(os.environ.get("INTERRUPTION_AFTER", "0"))
        self.count = 0

    def ended(self, result: CallbackTaskResult, status: str) -> None:
        """Write the line of a task that ended."""
        self.count += 1
        with self.log.open("a") as log:
            log.write(f"{time.time():.2f}\t{status}\t{result.task.get_name()}\n")
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        self.ended(result, "changed" if result.is_changed() else "ok")

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        self.ended(result, "failed")
