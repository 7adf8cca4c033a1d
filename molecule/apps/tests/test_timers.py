"""Management commands at set times, by systemd."""

import json
from pathlib import Path
from typing import Any

from stack import Stack, ansible, wait_for

UNIT = "rootstock-timer-pages.page"
COUNT = "from pages.models import Page\nprint(Page.objects.filter(source='By a timer').count())"


def deploy(inventory: str, timers: list[dict[str, str]], check: bool = True) -> str:
    """Deploys one application with other timers; returns what is said."""
    variables = json.dumps({"app_timers": timers})
    return ansible(
        "--limit", "pages12", "-e", variables, inventory=inventory, playbook="deploy", check=check
    ).stdout


def status(inventory: str, path: Path) -> dict[str, Any]:
    ansible("-e", f"status_file={path}", inventory=inventory, playbook="status", check=False)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_timer_runs_a_command_of_the_live_release(pages: Stack) -> None:
    wait_for(lambda: pages.python(COUNT) == 1, 30, "the command has run")
    shown = pages.host.check_output(f"systemctl show --property=Result,ExecMainStatus {UNIT}.service")
    assert set(shown.split()) == {"Result=success", "ExecMainStatus=0"}


def test_a_timer_that_is_stopped_or_fails_is_unhealthy(pages: Stack, inventory: str, tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    drop_in = f"/run/systemd/system/{UNIT}.service.d"
    pages.host.check_output(
        f"mkdir -p {drop_in} && "
        f"printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' >{drop_in}/fail.conf && "
        "systemctl daemon-reload"
    )
    try:
        failed = f"systemctl show --property=Result --value {UNIT}.service"
        wait_for(lambda: pages.host.check_output(failed) == "exit-code", 30, "a run has failed")
        pages.host.check_output(f"systemctl stop {UNIT}.timer")
        found = status(inventory, path)
    finally:
        pages.host.check_output(f"rm -r {drop_in} && systemctl daemon-reload && systemctl start {UNIT}.timer")
    assert found["state"] == "unhealthy"
    said = [reason["value"] for reason in found["reasons"] if reason["what"] == "timer page"]
    assert said[0] == "does not wait for its next run"
    assert said[1].endswith("with exit-code")
    wait_for(lambda: status(inventory, path)["state"] == "healthy", 60, "a run has succeeded")


def test_a_schedule_that_systemd_does_not_read_is_refused(pages: Stack, inventory: str) -> None:
    before = pages.host.check_output(f"systemctl cat {UNIT}.timer")
    timer = {"name": "page", "command": "check", "schedule": "now and then"}
    said = " ".join(deploy(inventory, [timer], check=False).split())
    assert 'schedule of page in app_timers is "now and then": systemd does not read it. Fix:' in said
    assert pages.host.check_output(f"systemctl cat {UNIT}.timer") == before


def test_a_timer_that_is_taken_out_is_removed(pages: Stack, inventory: str) -> None:
    deploy(inventory, [])
    assert pages.host.run(f"systemctl cat {UNIT}.timer {UNIT}.service").rc != 0
    assert pages.host.check_output("systemctl list-timers --all 'rootstock-timer-*' --no-legend") == ""
    ansible("--limit", "pages12", inventory=inventory, playbook="deploy")
    assert pages.host.check_output(f"systemctl is-active {UNIT}.timer") == "active"
