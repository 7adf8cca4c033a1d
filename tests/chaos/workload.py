"""Tasks of all kinds while a server is broken: published on the server itself, also after a reboot."""

import base64
import secrets
import shlex
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from chaos.history import Publication, publications
from stack import APP, Stack, wait_for
from traffic import QUEUES

#: Of a user whom no firewall rule concerns: it stands for another host. Its group may read the settings.
USER = "nobody"
#: A deploy takes less, and what is done twice must end while a run is settled.
LONG_SECONDS = 150
UNIT = """[Unit]
After=network.target

[Service]
User={user}
Group={app}
WorkingDirectory={home}/release
Environment=PYTHONPATH={home}/release
ExecStart=/usr/local/lib/rootstock/with-env /etc/{app}/app.env -- {python} {home}/producer.py {arguments}
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""


def remove_all(stack: Stack) -> None:
    """Removes what a run that was killed has left: it would go on publishing."""
    units = "/etc/systemd/system/chaos-*.service"
    stack.host.run(
        f"for unit in {units}; do systemctl disable --now $(basename $unit); rm -f $unit; done; "
        "systemctl daemon-reload; rm -rf /var/tmp/chaos-*"
    )


class Workload:
    """A context manager: publishes while it lasts."""

    def __init__(self, stack: Stack, seed: int, rate: float) -> None:
        self.run = secrets.token_hex(4)
        self._stack, self._seed, self._rate = stack, seed, rate
        self._unit = f"chaos-{self.run}"
        self._home = f"/var/tmp/{self._unit}"  # noqa: S108 - on the server, with a name nobody can guess, 2026-11-30
        self._long: list[Publication] = []
        self._stopped: list[Publication] | None = None

    def __enter__(self) -> Self:
        home, host = self._home, self._stack.host
        program = base64.b64encode((Path(__file__).parent / "producer.py").read_bytes()).decode()
        arguments = [self.run, str(self._seed), f"{self._rate:g}", f"{home}/ledger/ledger"]
        python = f"{home}/release/.venv/bin/python"
        unit = UNIT.format(user=USER, app=APP, home=home, python=python, arguments=shlex.join(arguments))
        # A copy: a deploy may take the release away, and with it the virtual environment that it shares.
        host.check_output(
            f"install -d -m 0755 {home} && install -d -o {USER} {home}/ledger && "
            f"cp -a /srv/{APP}/current/. {home}/release && if [ -L {home}/release/.venv ]; then "
            f"rm {home}/release/.venv && cp -a /srv/{APP}/current/.venv/. {home}/release/.venv; fi && "
            f"echo {program} | base64 -d >{home}/producer.py"
        )
        host.check_output(
            "printf %s %s >%s && systemctl daemon-reload && systemctl enable --quiet --now %s",
            "%s",
            unit,
            f"/etc/systemd/system/{self._unit}.service",
            self._unit,
        )
        wait_for(
            lambda: sum(task.acknowledged is not None for task in self.ledger()) > 30, 60, "it publishes"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def long_tasks(self) -> None:
        """Publishes a long task to each queue; returns when all are accepted."""
        code = (
            "from shop.celery import app\n"
            "for key, queue in arguments['tasks']:\n"
            "    app.send_task('diagnostics.tasks.record', [key, arguments['seconds']], queue=queue)\n"
            "print('null')"
        )
        batch, at = len(self._long), time.time()
        tasks = [(f"{self.run}/long-{batch}-{queue}", queue) for queue in QUEUES]
        self._stack.python(code, {"tasks": tasks, "seconds": LONG_SECONDS})
        self._long += [
            Publication(key, "long", queue, at, (key,), acknowledged=time.time()) for key, queue in tasks
        ]

    def publishes(self) -> bool:
        """Whether tasks have been accepted."""
        return sum(task.acknowledged is not None for task in self.ledger()) > 30

    def ledger(self) -> list[Publication]:
        """What has been published so far."""
        if self._stopped is not None:
            return self._stopped
        return publications(self._stack.host.run(f"cat {self._home}/ledger/ledger").stdout) + self._long

    def stop(self) -> list[Publication]:
        """Stops publishing and returns the whole ledger."""
        if self._stopped is None:
            unit = self._unit
            self._stack.host.run(f"systemctl disable --quiet --now {unit}")
            self._stopped = self.ledger()
            self._stack.host.run(
                f"rm -rf {self._home} /etc/systemd/system/{unit}.service; systemctl daemon-reload"
            )
        return self._stopped
