"""The playbook in check mode on hosts that have converged."""

import subprocess

from testinfra.host import Host

from stack import recap


def test_check_mode_reports_no_change(host: Host, dry_run: subprocess.CompletedProcess[str]) -> None:
    figures = recap(dry_run.stdout)[host.backend.get_hostname()]
    assert (dry_run.returncode, figures["changed"], figures["failed"]) == (0, 0, 0), dry_run.stdout


def test_no_secret_is_printed(host: Host, dry_run: subprocess.CompletedProcess[str]) -> None:
    secret = host.check_output("grep -oP '^SECRET_KEY=\\K.*' /etc/shop/app.env").strip("'\"")
    assert len(secret) >= 32
    assert secret not in dry_run.stdout + dry_run.stderr
