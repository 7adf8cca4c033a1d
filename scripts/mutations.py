"""Takes away, one at a time, what protects a server, and looks whether a test notices.

Usage: mutations.py INVENTORY [LINE...]     (a part of their names in tests/mutations.yml; without any all)

INVENTORY is Molecule's of the scenario `security`: scripts/with_server.sh makes the server and calls it.
Fails if fewer than nine in ten are noticed.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
SERVER = "security12"
LEAST = 0.9
PROXY = "molecule/default/tests/test_reverse_proxy.py"
# Where a change is looked for, as pytest takes it: files, and a part of their tests' names.
TESTS = {
    "headers": ([PROXY], "security_headers and not without_application"),
    "proxy": ([PROXY], "plain_http or readiness or forge"),
    "names": ([PROXY], "unknown_host_name"),
    "limits": ([PROXY], "a_worker_may_open"),
    "flower": ([PROXY], "wants_the_password or leaves_open"),
    "guesses": (["molecule/security/tests/test_flower.py"], "guess"),
    "flower_itself": ([PROXY], "flower_itself or read_only"),
    "cross_site": (["molecule/security/tests/test_flower.py"], "another_site"),
    "tls": (["molecule/security/tests/test_requests.py"], "mozilla"),
    "slow": (["molecule/security/tests/test_requests.py"], "never_end"),
    "redis": (["molecule/default/tests/test_data_stores.py"], "redis and not comes_back"),
    "nobody": (["molecule/security/tests/test_local_user.py"], ""),
    "logins": ([PROXY], "login_form"),
    "exposure": (["molecule/default/tests/test_hardening.py"], "no_more_exposed"),
    "firewall": (["molecule/security/tests/test_firewall.py"], "only_ssh"),
}
# Also forgets whose guesses it has counted.
RESTART = "nginx -t -q && systemctl restart nginx"
# What makes a service read a changed file.
APPLY = {
    "/etc/nginx": RESTART,
    "/etc/redis": "redis ACL LOAD",
    "/etc/shop": "supervisorctl restart shop-flower; flower_listens",
    "/etc/supervisor": "supervisorctl update shop-flower; flower_listens",
    "/etc/systemd": "systemctl daemon-reload",
}
FUNCTIONS = """set -e
redis() {
    . /etc/redis/rootstock.env
    REDISCLI_AUTH="$REDIS_ADMIN_PASSWORD" redis-cli --user admin "$@"
}
flower_listens() {
    timeout 60 sh -c 'until ss -ltnH sport = :5555 | grep -q .; do sleep 0.5; done'
}
"""


@dataclass(frozen=True)
class Mutation:
    """One line that is taken away, and where that is looked for."""

    line: str
    test: str
    do: str
    undo: str

    @classmethod
    def of(cls, entry: dict[str, str]) -> "Mutation":
        """Return what to do for an entry of the list: its own commands, or those that change its file."""
        if "do" in entry:
            return cls(entry["line"], entry["test"], entry["do"], entry["undo"])
        apply = next(command for prefix, command in APPLY.items() if entry["file"].startswith(prefix))
        # Which file counts may be what a link says.
        file = f"file=$(readlink -f {entry['file']}); "
        # A change that changes nothing would prove nothing.
        unchanged = "if cmp -s $file $file.kept; then exit 3; fi"
        do = f"cp -p $file $file.kept; sed -i '{entry['change']}' $file; {unchanged}; {apply}"
        return cls(entry["line"], entry["test"], file + do, f"{file}mv $file.kept $file; {apply}")


def on_server(command: str) -> None:
    """Run a command as root. Raises CalledProcessError."""
    subprocess.run(
        ["docker", "exec", SERVER, "bash", "-c", FUNCTIONS + command], check=True, stdout=subprocess.DEVNULL
    )


def is_noticed(test: str, inventory: str) -> bool:
    """Whether a test fails. Raises RuntimeError when none ran."""
    # What an earlier test was refused is not this one's.
    on_server(f"{RESTART}; redis ACL LOG RESET")
    files, names = TESTS[test]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", names, *files]
    command += ["--ansible-inventory", inventory, f"--hosts=docker://{SERVER}"]
    environment = os.environ | {
        "MOLECULE_EPHEMERAL_DIRECTORY": str(Path(inventory).parent),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout + done.stderr)
    return done.returncode == 1


def main() -> int:
    """Run all; return the exit status."""
    inventory, *wanted = sys.argv[1:]
    entries = yaml.safe_load((ROOT / "tests/mutations.yml").read_text())
    mutations = [Mutation.of(each) for each in entries]
    mutations = [each for each in mutations if not wanted or any(part in each.line for part in wanted)]
    if not mutations:
        print(f"mutations: no line's name has a part of {wanted}", file=sys.stderr)
        return 1
    for test in dict.fromkeys(each.test for each in mutations):
        if is_noticed(test, inventory):
            print(f"mutations: '{test}' fails on the server as it is", file=sys.stderr)
            return 1
    noticed = {}
    for each in mutations:
        try:
            on_server(each.do)
            noticed[each.line] = is_noticed(each.test, inventory)
        finally:
            on_server(each.undo)
        print(json.dumps({"line": each.line, "noticed": noticed[each.line]}), flush=True)
    share = sum(noticed.values()) / len(noticed)
    print(f"{sum(noticed.values())} of {len(noticed)} are noticed.")
    return 0 if share >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
