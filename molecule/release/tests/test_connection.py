"""The way in is the one of a user: SSH, a key, a host that is known, sudo."""

import os
import subprocess
from pathlib import Path

from stack import PROJECT


def login(inventory: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the server by Ansible, as root, over a connection of its own."""
    command = [str(PROJECT / ".venv/bin/ansible"), "--inventory", inventory, "--become", "all", *options]
    return subprocess.run(
        [*command, "--args", 'sh -c "echo $(id -un) for $SUDO_USER"'],
        cwd=PROJECT,
        env=os.environ | {"ANSIBLE_NOCOLOR": "true", "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_SSH_ARGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_user_with_sudo_comes_in(inventory: str) -> None:
    done = login(inventory)
    assert "root for admin" in done.stdout, done.stdout + done.stderr


def test_a_host_with_another_key_is_refused(inventory: str, tmp_path: Path) -> None:
    config = Path(inventory).parent / "ssh_config"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    known = (tmp_path / "key.pub").read_text()
    (tmp_path / "known_hosts").write_text(f"release12 {known}")
    other = config.read_text().replace(str(config.parent / "known_hosts"), str(tmp_path / "known_hosts"))
    (tmp_path / "ssh_config").write_text(other)
    done = login(inventory, "--extra-vars", f"ansible_ssh_common_args='-F {tmp_path}/ssh_config'")
    assert done.returncode != 0
    assert "Host key verification failed" in done.stdout + done.stderr
