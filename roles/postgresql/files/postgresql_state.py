"""Compare what this host's PostgreSQL cluster `main` runs with against what is written, and restart it.

Usage: postgresql_state.py compare|restart VERSION PORT

`compare` changes nothing and prints one JSON object, `action` being the one thing to do and `why` its reason:
    restart         nobody answers on the port, the unit is not enabled or a setting needs it
    reload          a file is newer than what the server has read
    reload systemd  systemd has not read a changed unit file yet
    none
It exits with 1 where the server finds an error in pg_hba.conf: restarted with that, it would not start.
`restart` checks the files, restarts the cluster and exits with 1 unless it answers within 60 s and `compare`
then finds nothing to do.
Runs as root on Python 3.11 or newer, standard library only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

ANSWER_SECONDS = 60.0

# pg_file_settings tries the files as they are now; its error text is the same for a value that only a
# restart can change and for one that is wrong: `restart` tells them apart before it stops anything.
QUERY = """
SELECT json_build_object(
    'restart', (SELECT coalesce(json_agg(DISTINCT name), '[]') FROM (
        SELECT name FROM pg_file_settings WHERE error IS NOT NULL
        UNION SELECT name FROM pg_settings WHERE pending_restart) AS changed),
    'hba', (SELECT coalesce(json_agg('line ' || line_number || ': ' || error), '[]')
        FROM pg_hba_file_rules WHERE error IS NOT NULL),
    'reload', (SELECT coalesce(json_agg(file), '[]')
        FROM unnest(
            ARRAY[current_setting('hba_file'), '{settings}', current_setting('ssl_cert_file')]) AS file
        WHERE (pg_stat_file(file)).modification > pg_conf_load_time()))
"""


class Cluster:
    """The cluster `main` of one major version of PostgreSQL, as Debian lays it out."""

    def __init__(self, version: str, port: str) -> None:
        self.port = port
        self.unit = f"postgresql@{version}-main.service"
        self.configuration = f"/etc/postgresql/{version}/main"
        self.server = f"/usr/lib/postgresql/{version}/bin/postgres"
        self.log = Path(f"/var/log/postgresql/postgresql-{version}-main.log")

    def compare(self) -> dict[str, str]:
        """Return what to do and why. Raises SystemExit where pg_hba.conf has an error."""
        enabled = run("systemctl", "is-enabled", "postgresql.service").stdout.strip()
        if enabled != "enabled":
            return {"action": "restart", "why": f"postgresql.service is {enabled}"}
        query = QUERY.format(settings=f"{self.configuration}/conf.d/rootstock.conf")
        asked = run(
            *("runuser", "-u", "postgres", "--", "psql", "-XAtq", "-h", "/run/postgresql", "-p", self.port),
            *("-d", "postgres", "-c", query),
        )
        if asked.returncode != 0:
            return {"action": "restart", "why": asked.stderr.strip()}
        found = json.loads(asked.stdout)
        if found["hba"]:
            raise SystemExit(f"{self.configuration}/pg_hba.conf: {'; '.join(found['hba'])}")
        if found["restart"]:
            return {"action": "restart", "why": f"changed: {', '.join(found['restart'])}"}
        if found["reload"]:
            return {"action": "reload", "why": f"changed: {', '.join(found['reload'])}"}
        stale = run("systemctl", "show", "--value", "--property", "NeedDaemonReload", self.unit)
        if stale.stdout.strip() == "yes":
            return {"action": "reload systemd", "why": f"the files of {self.unit} changed"}
        return {"action": "none", "why": ""}

    def restart(self) -> None:
        """Restart the cluster with what is written. Raises SystemExit where it does not run with that."""
        checked = run(
            *("runuser", "-u", "postgres", "--", self.server, "-C", "shared_buffers"),
            *("-c", f"config_file={self.configuration}/postgresql.conf"),
        )
        if checked.returncode != 0:
            raise SystemExit(f"PostgreSQL refuses its configuration: {checked.stderr.strip()}")
        # The unit of all clusters comes last: it is what people reload, and it would start this one first.
        for words in (
            ["daemon-reload"],
            ["--quiet", "enable", "postgresql.service"],
            ["restart", self.unit],
            ["start", "postgresql.service"],
        ):
            done = run("systemctl", *words)
            if done.returncode != 0:
                raise SystemExit(f"systemctl {' '.join(words)}: {done.stderr.strip()}")
        deadline = time.monotonic() + ANSWER_SECONDS
        while (found := self.compare())["action"] != "none":
            if time.monotonic() > deadline:
                fatal = [line for line in self.log.read_text().splitlines()[-20:] if "FATAL" in line]
                raise SystemExit("\n".join([f"{self.unit} does not run as written: {found['why']}", *fatal]))
            time.sleep(0.2)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a directory that the user postgres may read, whatever its exit status."""
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")


def main(arguments: list[str]) -> None:
    """Do what the first argument says to the cluster that the others name."""
    action, version, port = arguments
    cluster = Cluster(version, port)
    if action == "compare":
        print(json.dumps(cluster.compare()))
    else:
        cluster.restart()


if __name__ == "__main__":
    main(sys.argv[1:])
