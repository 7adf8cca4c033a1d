"""Look at an application on this host: what should run, what does, and what it answers. Changes nothing.

Runs as root from standard input. Argument: a JSON object, see Asked. The caller adds a last line that calls
main() with the text of status_application.py, which runs as the application's user. Prints one JSON object,
see look(). Ages are in seconds, sizes in bytes.
"""

import configparser
import http.client
import json
import os
import re
import shlex
import socket
import ssl
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

SRV, ETC = Path("/srv"), Path("/etc")
UNITS = Path("/etc/systemd/system")
MEMBER_PROGRAM = "/usr/local/lib/rootstock/redis-primary"
SUPERVISOR_SOCKET = "unix:///var/run/supervisor.sock"
HTTPS_ADDRESS = ("127.0.0.1", 443)
# What fills up a server: one line for each file system.
PLACES = ("/", "/srv", "/var/log", "/var/lib/redis", "/var/lib/postgresql")

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
# All of status_application.py; a part that hangs costs the parts after it, not the whole.
APPLICATION_SECONDS = 60
ERROR_CHARACTERS = 200
TIMER_PROPERTIES = ("ActiveState", "Result", "ExecMainExitTimestamp")
# What the application's programs have loaded of role celery.
PACKAGE = re.compile(r"/usr/local/lib/rootstock/python/[0-9a-f]+")
# http://supervisord.org/subprocess.html#process-states: STOPPED, EXITED, FATAL
ENDED = {0, 100, 200}


class Asked(TypedDict):
    """What the inventory says of the application and of this host's part in it."""

    app: str
    application: str
    domain: str
    readiness_path: str
    groups: list[str]
    # Whether its Redis is one of a set.
    member: bool


Programs = dict[str, list[str]]


def described(error: BaseException) -> str:
    """An error in one short line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:ERROR_CHARACTERS]


def read(path: Path) -> str:
    """Content of a small file without blanks around it; empty if there is none."""
    return path.read_text().strip() if path.is_file() else ""


def target(link: Path) -> str:
    """Last part of what a link points to; empty if there is none."""
    return link.readlink().name if link.is_symlink() else ""


# --- Programs


def programs_of(files: Iterable[Path]) -> Programs:
    """Command by name of the programs in some Supervisor files."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read(files)
    return {
        section.removeprefix("program:"): shlex.split(parser[section].get("command", ""))
        for section in parser.sections()
        if section.startswith("program:")
    }


def option(command: Iterable[str], name: str) -> str:
    """Value of --name=value in a command; empty if it has none."""
    return next((word.partition("=")[2] for word in command if word.startswith(f"--{name}=")), "")


def limits_of(programs: Programs) -> dict[str, dict[str, int]]:
    """How long a task may run, and how many messages a process reserves, by worker node without its host."""
    names = {"time_limit": "time-limit", "prefetch_multiplier": "prefetch-multiplier"}
    return {
        option(command, "hostname").partition("@")[0]: {
            name: int(option(command, word)) for name, word in names.items()
        }
        for command in programs.values()
        if option(command, "time-limit")
    }


def processes() -> dict[str, dict[str, Any]]:
    """What Supervisor knows of its programs, by name. Raises OSError where it does not answer."""
    try:
        from supervisor.xmlrpc import SupervisorTransport
    except ImportError:
        raise OSError("Supervisor is not installed") from None
    transport = SupervisorTransport(None, None, SUPERVISOR_SOCKET)
    rpc: Any = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
    try:
        return {process["name"]: process for process in rpc.getAllProcessInfo()}
    except (http.client.HTTPException, xmlrpc.client.Error) as error:
        raise OSError(described(error)) from error


def program_states(
    named: Iterable[str], replaced: Iterable[str], known: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """State of the programs that a file names, and of the replaced ones that have not ended."""
    found = []
    for name in sorted({*named, *(name for name in replaced if name in known)}):
        process = known.get(name, {})
        since = process.get("stop" if process.get("state") in ENDED else "start") or process.get("start")
        found.append(
            {
                "name": name,
                "state": process.get("statename", "UNKNOWN"),
                "age": process["now"] - since if since else None,
                "wanted": name in named,
                "detail": process.get("spawnerr") or process.get("description", ""),
            }
        )
    return found


# --- Timers


def properties(units: list[str]) -> list[dict[str, str]]:
    """Some properties of systemd units, in the order of the units. Times are @seconds since 1970."""
    command = ["systemctl", "show", "--timestamp=unix", "--property", ",".join(TIMER_PROPERTIES), *units]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    blocks = done.stdout.strip().split("\n\n")
    return [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]


def timers(app: str, now: float) -> list[dict[str, Any]]:
    """The application's timers: whether each waits for its next time, and how its last run went."""
    names = sorted(path.stem for path in UNITS.glob(f"rootstock-timer-{app}.*.timer"))
    if not names:
        return []
    units = properties([f"{name}.{suffix}" for name in names for suffix in ("timer", "service")])
    found = []
    for name, timer, service in zip(names, units[::2], units[1::2], strict=True):
        ended = service.get("ExecMainExitTimestamp", "").removeprefix("@")
        runs = service.get("ActiveState") == "activating"
        found.append(
            {
                "name": name.partition(".")[2],
                "waits": timer.get("ActiveState") == "active",
                # systemd says "success" also of one that never ran.
                "result": "running" if runs else service.get("Result", "unknown") if ended else "",
                "age": now - float(ended) if ended else None,
            }
        )
    return found


# --- Web


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self.path = path

    def connect(self) -> None:
        """Raises OSError when nobody listens."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def connected(domain: str) -> ssl.SSLSocket:
    """A TLS connection with Nginx for a domain. Raises OSError where none comes about."""
    context = ssl.create_default_context()
    # A self-signed or an expired certificate is to be looked at, too.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = socket.create_connection(HTTPS_ADDRESS, timeout=CONNECT_SECONDS)
    try:
        return context.wrap_socket(plain, server_hostname=domain)
    except OSError:
        plain.close()
        raise


class NginxConnection(http.client.HTTPConnection):
    """HTTPS with this host's Nginx, whatever its certificate."""

    def connect(self) -> None:
        """Raises OSError where no connection comes about."""
        self.sock = connected(self.host)
        self.sock.settimeout(self.timeout)


def web_problem(connection: http.client.HTTPConnection, url: str, host: str) -> str:
    """Why who is at the other end does not answer 200; empty if they do."""
    try:
        connection.request("GET", url, headers={"Host": host, "X-Forwarded-Proto": "https"})
        answer = connection.getresponse()
        answer.read()
    except TimeoutError:
        return f"no answer within {ANSWER_SECONDS:.0f} s"
    except (OSError, http.client.HTTPException) as error:
        return described(error)
    finally:
        connection.close()
    return "" if answer.status == 200 else f"{answer.status} {answer.reason}"


def certificate_end(domain: str) -> float:
    """When the certificate ends that Nginx shows for a domain, in seconds since 1970.

    Raises OSError where no TLS connection comes about.
    """
    with connected(domain) as secured:
        certificate = secured.getpeercert(binary_form=True)
    command = ["openssl", "x509", "-inform", "DER", "-noout", "-enddate"]
    done = subprocess.run(command, input=certificate, capture_output=True, check=False)
    if done.returncode != 0:
        raise OSError(described(OSError(done.stderr.decode(errors="replace"))))
    return float(ssl.cert_time_to_seconds(done.stdout.decode().strip().removeprefix("notAfter=")))


def certificate(domain: str, now: float) -> dict[str, Any]:
    """Days until the certificate ends, or why it is not known."""
    try:
        return {"days": (certificate_end(domain) - now) / 86400}
    except OSError as error:
        return {"error": described(error)}


# --- Redis


def member_problem() -> str:
    """What this host's Redis or Sentinel lacks as a member of a set; empty if nothing."""
    if not Path(MEMBER_PROGRAM).exists():
        return f"{MEMBER_PROGRAM} is not there: run site.yml"
    whole, quorum = (
        subprocess.run([MEMBER_PROGRAM, word], capture_output=True, text=True, check=False)
        for word in ("whole", "quorum")
    )
    found = [] if whole.returncode == 0 else ["its Redis has not all data, or no replica that has"]
    if not quorum.stdout.startswith("OK"):
        found.append(f"its Sentinel says {quorum.stdout.strip() or 'nothing'}")
    return "; ".join(found)[:ERROR_CHARACTERS]


# --- The rest


def beat_tick_age(schedule: Path, now: float) -> float | None:
    """Seconds since beat wrote its schedule; None if it has not."""
    return max(0.0, now - schedule.stat().st_mtime) if schedule.exists() else None


def disks() -> list[dict[str, Any]]:
    """Size and free bytes of each file system that matters, named after its first place."""
    found: dict[int, dict[str, Any]] = {}
    for place in PLACES:
        if Path(place).is_dir():
            usage = os.statvfs(place)
            figures = {"total": usage.f_blocks * usage.f_frsize, "free": usage.f_bavail * usage.f_frsize}
            found.setdefault(Path(place).stat().st_dev, {"path": place, **figures})
    return list(found.values())


def package_of(files: Iterable[Path]) -> str:
    """The directory of the package that programs in some Supervisor files load; empty if there is none."""
    found = PACKAGE.search("\n".join(map(read, files)))
    return found[0] if found else ""


def application(
    asked: Asked, pools: Mapping[str, list[str]], script: str, package: str = ""
) -> dict[str, Any]:
    """What the script prints, part by part; the part `run` says that it did not come to its end."""
    app = asked["app"]
    command = ["timeout", "--kill-after=5", str(APPLICATION_SECONDS), "runuser", f"--user={app}", "--"]
    # Of the users of Redis the worker's may ask what is asked.
    command += ["env", "ROOTSTOCK_PURPOSE=WORKER"]
    # Celery's settings by the inventory are for this one, too.
    launcher = ["-m", "rootstock_worker.run", "python"] if package else []
    command += [f"PYTHONPATH={package}", "/usr/local/lib/rootstock/with-env", f"/etc/{app}/app.env", "--"]
    command += [".venv/bin/python", *launcher, "-"]
    # Of libpq, which would otherwise wait for a silent server as long as TCP does.
    environment = os.environ | {"PGCONNECT_TIMEOUT": str(round(CONNECT_SECONDS))}
    try:
        done = subprocess.run(
            [*command, asked["application"], json.dumps(pools)],
            input=script,
            cwd=SRV / app / "current",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return {"run": {"error": described(error)}}
    answers: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        answers |= json.loads(line)
    if done.returncode in (124, 137):
        last = list(answers)[-1] if answers else "nothing"
        answers["run"] = {"error": f"no answer within {APPLICATION_SECONDS} s; the last was {last}"}
    elif done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        answers["run"] = {"error": said[-1][:ERROR_CHARACTERS]}
    return answers


def look(asked: Asked, script: str, now: float) -> dict[str, Any]:
    """What there is of an application on this host; parts that are not its business are null or empty."""
    app, groups = asked["app"], asked["groups"]
    root, supervisor = SRV / app, ETC / "supervisor"
    single = supervisor / f"conf.d/{app}-single.conf"
    generation = read(root / "generation")
    live = [supervisor / part / f"{app}.{generation}.conf" for part in ("conf.d", "rootstock")]
    pools = {
        option(command, "hostname").partition("@")[0]: option(command, "queues").split(",")
        for command in programs_of(live[:1]).values()
        if option(command, "queues")
    }
    named = programs_of([*supervisor.glob(f"conf.d/{app}.*.conf"), single])
    replaced = programs_of(supervisor.glob(f"rootstock/{app}.*.retired"))
    schedule = option(named.get(f"{app}-beat", []), "schedule")
    known: dict[str, dict[str, Any]] = {}
    problem = ""
    try:
        known = processes() if named else {}
    except OSError as error:
        problem = described(error)
    url, domain = asked["readiness_path"], asked["domain"]
    proxy = {"web", "flower", "edge"} & set(groups)
    web = UnixConnection(root / "web.sock") if "web" in groups else None
    edge = NginxConnection(domain, timeout=ANSWER_SECONDS) if "edge" in groups else None
    return {
        "release": target(root / "current"),
        "generation": generation,
        "supervisor": problem,
        "programs": program_states(named, replaced, known),
        "pools": pools,
        "limits": limits_of({**replaced, **named}),
        "web": web_problem(web, url, domain) if web else None,
        "edge": web_problem(edge, url, domain) if edge else None,
        "certificate": certificate(domain, now) if proxy else None,
        "beat": {"age": beat_tick_age(Path(schedule), now)} if schedule else None,
        "timers": timers(app, now),
        "disks": disks(),
        "member": member_problem() if asked["member"] else None,
        "application": application(asked, pools, script, package_of(live)) if generation else {},
    }


def main(script: str) -> None:
    """Print what there is; the script is what the application's user runs."""
    # Supervisor's client has no time limit of its own.
    socket.setdefaulttimeout(CONNECT_SECONDS)
    print(json.dumps(look(json.loads(sys.argv[1]), script, time.time())))
