"""What playbooks/files/status_host.py sees of an application, on a server that is made up."""

import json
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from repository import PROJECT, source_module

SOURCE = "playbooks/files/status_host.py"
NOW = 1_800_000_000.0
ASKED: dict[str, Any] = {
    "app": "shop",
    "application": "shop",
    "domain": "shop.example",
    "readiness_path": "/readyz",
    "groups": ["web", "workers", "beat"],
    "member": False,
}
# As templates/supervisor_programs.conf.j2 writes them.
PROGRAM = """
[program:{name}]
command=/usr/local/lib/rootstock/with-env /etc/shop/app.0123456789ab.env -- {command}
directory=/srv/shop/releases/0f3a9c51be77
environment=HOME="/srv/shop/shared",GREETING="50%% off"
"""
WORKER = ".venv/bin/celery -A shop worker --hostname={0}.aaaaaaaa@%%h --queues={1} --concurrency=2"
WORKER += " --prefetch-multiplier=3 --time-limit=1800"


def process(name: str, state: int, statename: str, **other: Any) -> dict[str, Any]:
    """Return what getAllProcessInfo() tells (http://supervisord.org/api.html)."""
    return {
        "name": name,
        "group": name,
        "description": "pid 42, uptime 0:10:00",
        "start": int(NOW) - 600,
        "stop": 0,
        "now": int(NOW),
        "state": state,
        "statename": statename,
        "spawnerr": "",
        "exitstatus": 0,
        "pid": 42,
    } | other


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, with the made up server's root."""
    module = source_module(SOURCE)
    monkeypatch.setattr(module, "SRV", tmp_path / "srv")
    monkeypatch.setattr(module, "ETC", tmp_path / "etc")
    monkeypatch.setattr(module, "UNITS", tmp_path / "etc/systemd/system")
    monkeypatch.setattr(module, "PLACES", (str(tmp_path), str(tmp_path / "srv"), "/nonexistent"))
    monkeypatch.setattr(module, "HTTPS_ADDRESS", ("127.0.0.1", 1))
    monkeypatch.setattr(
        module, "application", lambda asked, pools, script, package: {"asked": {"value": pools}}
    )
    return module


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A server on which generation aaaaaaaa is live and bbbbbbbb finishes its work."""
    srv, supervisor = tmp_path / "srv/shop", tmp_path / "etc/supervisor"
    for directory in (srv / "shared", supervisor / "conf.d", supervisor / "rootstock"):
        directory.mkdir(parents=True)
    (srv / "current").symlink_to("releases/0f3a9c51be77")
    (srv / "generation").write_text("aaaaaaaa\n")
    live = {
        "shop-web.aaaaaaaa": ".venv/bin/gunicorn --bind unix:/run/shop/web.aaaaaaaa.sock shop.wsgi",
        "shop-worker-critical.aaaaaaaa": WORKER.format("critical", "critical"),
        "shop-worker-default.aaaaaaaa": WORKER.format("default", "default,mail"),
    }
    beat = f".venv/bin/celery -A shop beat --schedule={srv}/shared/celerybeat-schedule --pidfile="
    files = {
        "conf.d/shop.aaaaaaaa.conf": live,
        "rootstock/shop.aaaaaaaa.conf": {"shop-beat": beat},
        "rootstock/shop.bbbbbbbb.retired": {
            "shop-worker-default.bbbbbbbb": WORKER.format("default", "old").replace("aaaaaaaa", "bbbbbbbb"),
            "shop-web.bbbbbbbb": "gunicorn",
        },
        # Other applications, whose names begin in the same way.
        "conf.d/shop-eu.cccccccc.conf": {"shop-eu-web.cccccccc": "gunicorn"},
        "conf.d/shopping.dddddddd.conf": {"shopping-web.dddddddd": "gunicorn"},
    }
    for name, programs in files.items():
        text = "".join(PROGRAM.format(name=program, command=programs[program]) for program in programs)
        (supervisor / name).write_text(f"# Ansible managed\n{text}")
    (supervisor / "conf.d/shop-single.conf").symlink_to(supervisor / "rootstock/shop.aaaaaaaa.conf")
    return tmp_path


def look(module: Any, **asked: Any) -> dict[str, Any]:
    seen: dict[str, Any] = module.look(ASKED | asked, "", NOW)
    return seen


def supervise(monkeypatch: pytest.MonkeyPatch, module: Any, *processes: dict[str, Any]) -> None:
    """Have Supervisor know these processes."""
    monkeypatch.setattr(module, "processes", lambda: {process["name"]: process for process in processes})


def test_release_pools_and_programs_of_this_application_are_seen(
    module: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervise(
        monkeypatch,
        module,
        process("shop-beat", 30, "BACKOFF", spawnerr="Exited too quickly", start=int(NOW) - 3),
        process("shop-web.aaaaaaaa", 20, "RUNNING"),
        process("shop-worker-critical.aaaaaaaa", 0, "STOPPED", stop=int(NOW) - 60),
        process("shop-worker-default.bbbbbbbb", 40, "STOPPING"),
        process("shop-eu-web.cccccccc", 200, "FATAL"),
    )
    seen = look(module)
    assert (seen["release"], seen["generation"], seen["supervisor"]) == ("0f3a9c51be77", "aaaaaaaa", "")
    pools = {"critical.aaaaaaaa": ["critical"], "default.aaaaaaaa": ["default", "mail"]}
    assert (seen["pools"], seen["application"]) == (pools, {"asked": {"value": pools}})
    limits = {"time_limit": 1800, "prefetch_multiplier": 3}
    # Of a draining generation as well: its workers hold messages.
    assert seen["limits"] == dict.fromkeys(
        ["default.bbbbbbbb", "critical.aaaaaaaa", "default.aaaaaaaa"], limits
    )
    programs = [(p["name"], p["state"], p["age"], p["wanted"], p["detail"]) for p in seen["programs"]]
    words = "pid 42, uptime 0:10:00"
    assert programs == [
        ("shop-beat", "BACKOFF", 3, True, "Exited too quickly"),
        ("shop-web.aaaaaaaa", "RUNNING", 600, True, words),
        ("shop-worker-critical.aaaaaaaa", "STOPPED", 60, True, words),
        ("shop-worker-default.aaaaaaaa", "UNKNOWN", None, True, ""),
        ("shop-worker-default.bbbbbbbb", "STOPPING", 600, False, words),
    ]


def test_a_supervisor_that_is_not_there_is_an_answer(
    module: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control node's Python has no Supervisor, as a bare server's has none.
    assert look(module)["supervisor"] == "Supervisor is not installed"

    def refuse() -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(module, "processes", refuse)
    seen = look(module)
    assert seen["supervisor"] == "[Errno 111] Connection refused"
    assert {program["state"] for program in seen["programs"]} == {"UNKNOWN"}


def test_a_bare_server_tells_that_there_is_nothing(module: Any, tmp_path: Path) -> None:
    seen = look(module)
    assert (seen["release"], seen["generation"], seen["programs"], seen["pools"]) == ("", "", [], {})
    assert (seen["supervisor"], seen["beat"], seen["application"]) == ("", None, {})
    assert "No such file" in seen["web"]
    assert "refused" in seen["certificate"]["error"]


def test_a_data_store_is_asked_for_its_disks_alone(module: Any, root: Path) -> None:
    seen = look(module, groups=["redis"])
    assert (seen["web"], seen["edge"], seen["certificate"]) == (None, None, None)
    # Both places are on one file system.
    usage = os.statvfs(root)
    (disk,) = seen["disks"]
    assert disk["path"] == str(root)
    assert disk["total"] == usage.f_blocks * usage.f_frsize
    assert 0 < disk["free"] <= disk["total"]


# --- Timers

#: As `systemctl show --timestamp=unix` prints them: a timer, then its service.
SHOWN = {
    "failed": (
        "ActiveState=active",
        f"ActiveState=failed\nResult=exit-code\nExecMainExitTimestamp=@{NOW - 30:.0f}",
    ),
    "new": ("ActiveState=active", "ActiveState=inactive\nResult=success\nExecMainExitTimestamp="),
    "runs": (
        "ActiveState=active",
        f"ActiveState=activating\nResult=success\nExecMainExitTimestamp=@{NOW - 90:.0f}",
    ),
    "stopped": (
        "ActiveState=inactive",
        f"ActiveState=inactive\nResult=success\nExecMainExitTimestamp=@{NOW - 5:.0f}",
    ),
}


def test_timers_are_told_with_their_last_run(
    module: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units, program = root / "etc/systemd/system", root / "bin/systemctl"
    for directory in (units, program.parent):
        directory.mkdir(parents=True)
    for name in ("shop.new", "shop.failed", "shop.runs", "shop.stopped", "shop-two.other"):
        (units / f"rootstock-timer-{name}.timer").touch()
    blocks = [block for pair in SHOWN.values() for block in pair]
    program.write_text(f"#!/bin/sh\nprintf '%s' '{chr(10).join(f'{block}{chr(10)}' for block in blocks)}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert look(module)["timers"] == [
        {"name": "failed", "waits": True, "result": "exit-code", "age": 30},
        {"name": "new", "waits": True, "result": "", "age": None},
        {"name": "runs", "waits": True, "result": "running", "age": 90},
        {"name": "stopped", "waits": False, "result": "success", "age": 5},
    ]


def test_an_application_without_timers_asks_systemd_nothing(module: Any, root: Path) -> None:
    assert look(module)["timers"] == []


# --- Beat


def test_the_age_of_beats_schedule_is_that_of_its_file(module: Any, root: Path) -> None:
    shared = root / "srv/shop/shared"
    # What beat has begun to write and could not put in its place says nothing.
    (shared / ".celerybeat-schedule.new").touch()
    assert look(module)["beat"] == {"age": None}
    (shared / "celerybeat-schedule").touch()
    os.utime(shared / "celerybeat-schedule", (NOW - 170, NOW - 170))
    assert look(module)["beat"] == {"age": 170.0}


# --- Web


class Answer(BaseHTTPRequestHandler):
    """Says 200 to a request that is as Nginx would send it."""

    def do_GET(self) -> None:
        right = self.headers["Host"] == "shop.example" and self.headers["X-Forwarded-Proto"] == "https"
        self.send_response(200 if right and self.path == "/readyz" else 503)
        self.end_headers()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Have a server answer."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_the_web_processes_are_asked_as_nginx_asks_them(module: Any, root: Path) -> None:
    with serving(socketserver.ThreadingUnixStreamServer(str(root / "srv/shop/web.sock"), Answer)):
        assert look(module)["web"] == ""
        assert look(module, readiness_path="/other")["web"] == "503 Service Unavailable"
    assert "refused" in look(module)["web"]


def test_web_processes_that_hang_are_not_waited_for(
    module: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(root / "srv/shop/web.sock"))
        silent.listen()
        assert look(module)["web"] == "no answer within 0 s"


# --- Certificate, and what an edge leads to


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for ten days and its key."""
    certificate, key = tmp_path / "c", tmp_path / "k"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 10 -subj /CN=x"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], capture_output=True, check=True)
    return certificate, key


def test_an_edge_is_asked_through_its_own_nginx(
    module: Any, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setattr(module, "HTTPS_ADDRESS", server.server_address)
    with serving(server):
        assert look(module, groups=["edge"])["edge"] == ""
        assert look(module, groups=["edge"], readiness_path="/other")["edge"] == "503 Service Unavailable"
    assert "refused" in look(module, groups=["edge"])["edge"]


@contextmanager
def showing(certificate: Path, key: Path) -> Iterator[tuple[str, int]]:
    """Serve TLS for one connection; the address is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with context.wrap_socket(server.accept()[0], server_side=True) as connection:
                connection.recv(1)

        server.settimeout(5)
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield server.getsockname()
        finally:
            thread.join()
    assert names == ["shop.example"]


def test_the_certificate_is_the_one_that_is_shown_for_the_domain(
    module: Any, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with showing(*pair) as address:
        monkeypatch.setattr(module, "HTTPS_ADDRESS", address)
        assert module.certificate("shop.example", time.time())["days"] == pytest.approx(10, abs=0.01)


# --- The application


@pytest.fixture
def run(module: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that has the application's user run a script; runuser and with-env are stubs."""
    whole = source_module(SOURCE)
    monkeypatch.setattr(whole, "SRV", root / "srv")
    release = root / "srv/shop/releases/0f3a9c51be77"
    (release / ".venv/bin").mkdir(parents=True)
    (release / ".venv/bin/python").symlink_to(sys.executable)
    stub = root / "bin/runuser"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\necho "$*" >"$0.arguments"\nshift 8\nexec "$@"\n')
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}:{os.environ['PATH']}")

    def run(script: str, seconds: float = 60, package: str = "") -> dict[str, Any]:
        monkeypatch.setattr(whole, "APPLICATION_SECONDS", seconds)
        pools = {"default.aaaaaaaa": ["default"]}
        answers: dict[str, Any] = whole.application(ASKED, pools, script, package)
        return answers

    return run


def test_the_application_is_asked_in_its_own_environment(run: Any, root: Path) -> None:
    answers = run(
        "import json, os, sys\n"
        "print(json.dumps({'a': {'value': sys.argv[1:]}}))\n"
        "print(json.dumps({'b': {'value': [os.getcwd(), os.environ['PGCONNECT_TIMEOUT']]}}))\n"
    )
    assert answers == {
        "a": {"value": ["shop", json.dumps({"default.aaaaaaaa": ["default"]})]},
        "b": {"value": [str(root / "srv/shop/releases/0f3a9c51be77"), "5"]},
    }
    arguments = (root / "bin/runuser.arguments").read_text()
    assert arguments.startswith(
        "--user=shop -- env ROOTSTOCK_PURPOSE=WORKER "
        "PYTHONPATH= /usr/local/lib/rootstock/with-env /etc/shop/app.env -- .venv/bin/python -"
    )


def test_it_is_asked_with_the_package_of_its_live_programs(module: Any, run: Any, root: Path) -> None:
    files = [root / "etc/supervisor/conf.d/shop.bbbbbbbb.conf", root / "none.conf"]
    assert module.package_of(files) == ""
    files[0].parent.mkdir(parents=True, exist_ok=True)
    files[0].write_text("[program:x]\nenvironment=A=1,PYTHONPATH=/usr/local/lib/rootstock/python/0a1b2c\n")
    package = module.package_of(files)
    assert package == "/usr/local/lib/rootstock/python/0a1b2c"
    run("", package=package)
    arguments = (root / "bin/runuser.arguments").read_text()
    assert f"PYTHONPATH={package} /usr/local/lib/rootstock/with-env" in arguments
    assert "-- .venv/bin/python -m rootstock_worker.run python - shop" in arguments


def test_what_was_found_before_a_part_that_hangs_is_kept(run: Any) -> None:
    answers = run('import time\nprint(\'{"database": {"value": null}}\', flush=True)\ntime.sleep(30)', 3)
    assert answers == {
        "database": {"value": None},
        "run": {"error": "no answer within 3 s; the last was database"},
    }


def test_an_application_that_dies_says_its_last_words(run: Any) -> None:
    assert run("import no_such_module") == {
        "run": {"error": "ModuleNotFoundError: No module named 'no_such_module'"}
    }
    assert run("raise SystemExit(3)") == {"run": {"error": "exit status 3"}}


def test_a_release_that_is_not_there_is_an_answer(run: Any, root: Path) -> None:
    (root / "srv/shop/current").unlink()
    assert "No such file" in run("")["run"]["error"]


def test_the_whole_prints_one_object_as_the_play_runs_it() -> None:
    asked = ASKED | {"app": "no-such-app", "groups": ["redis"]}
    done = subprocess.run(
        [sys.executable, "-", json.dumps(asked)],
        input=f"{(PROJECT / SOURCE).read_text()}\nmain({json.dumps('text')})",
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["generation"] == ""


def test_a_member_whose_program_is_not_there_yet_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    module = source_module(SOURCE)
    monkeypatch.setattr(module, "MEMBER_PROGRAM", "/nonexistent/redis-primary")
    assert module.member_problem() == "/nonexistent/redis-primary is not there: run site.yml"
