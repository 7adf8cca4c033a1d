"""The audit of the application's Celery configuration, with the real Celery and wrong applications."""

import json
import os
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

import application
from repository import PROJECT

SOURCE = PROJECT / "roles/celery/files/celery_audit.py"
#: How the settings begin that the inventory lacks.
BLOCK = "Fix of all settings above"
PASSWORD = "s3cret/of#redis"
EXPECTED: dict[str, Any] = {
    "queues": ["critical", "default", "low-priority"],
    "visibility_timeout": 3600,
    "time_limit_margin": 300,
    "broker": {"host": "127.0.0.1", "port": 6379, "db": 1},
    "results": {"host": "127.0.0.1", "port": 6379, "db": 2},
    "key_prefix": "",
    "waived": [],
}
# An application without Django, all of whose settings are as they should be.
SOUND = """
from celery import Celery

app = Celery("project", broker="redis://:pw@localhost:6379/1", backend="redis://:pw@127.0.0.1/2")
app.conf.update(
    task_default_queue="default",
    task_acks_late=True,
    task_time_limit=1800,
    result_backend_always_retry=True,
    broker_transport_options={"visibility_timeout": 3600},
)


@app.task
def work():
    pass
"""


def run(
    directory: Path, name: str = "project", environment: dict[str, str] | None = None, **expected: object
) -> "subprocess.CompletedProcess[str]":
    """Run the audit as the role does: the script on stdin."""
    return subprocess.run(
        [application.python(), "-", name, json.dumps(EXPECTED | expected)],
        input=SOURCE.read_text(),
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"} | (environment or {}),
        capture_output=True,
        text=True,
    )


def audit(
    directory: Path, name: str = "project", environment: dict[str, str] | None = None, **expected: object
) -> tuple[int, list[str]]:
    """Return the exit status and the lines on stderr that say what is wrong."""
    done = run(directory, name, environment, **expected)
    return done.returncode, done.stderr.partition(BLOCK)[0].splitlines()


def given(
    directory: Path, settings: dict[str, Any], **expected: object
) -> "subprocess.CompletedProcess[str]":
    """Run the audit with celery_settings, as the role does."""
    return subprocess.run(
        [
            *(application.python(), "-m", "rootstock_worker.run", "python", "-"),
            *("project", json.dumps(EXPECTED | expected)),
        ],
        input=SOURCE.read_text(),
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SOURCE.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ROOTSTOCK_CELERY_SETTINGS": json.dumps(settings),
        },
        capture_output=True,
        text=True,
    )


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Return a function that writes an application with more code at its end, and returns where."""

    def write(code: str = "") -> Path:
        (tmp_path / "project.py").write_text(SOUND + code)
        return tmp_path

    return write


def test_a_sound_application_passes(write: Any) -> None:
    assert audit(write()) == (0, [])


def test_the_sample_application_passes(tmp_path: Path) -> None:
    environment = {
        "SECRET_KEY": "x" * 50,
        "ALLOWED_HOSTS": "localhost",
        "DATABASE_URL": "postgresql://shop@127.0.0.1/shop",
        "CACHE_URL": "redis://127.0.0.1:6379/0",
        "CELERY_BROKER_URL": "redis://:pw@127.0.0.1:6379/1",
        "CELERY_RESULT_BACKEND": "redis://:pw@127.0.0.1:6379/2",
        "PAYMENT_GATEWAY_URL": "http://127.0.0.1:8900/gateway",
        "CRM_URL": "http://127.0.0.1:8900/crm",
        "DIAGNOSTIC_TASKS": "1",
    }
    sample = PROJECT / "sample_app"
    assert audit(sample, "shop", environment) == (0, [])
    status, lines = audit(
        sample, "shop", environment, queues=["critical", "default"], visibility_timeout=1800
    )
    assert status == 1
    # Its settings come from Django, its tasks from autodiscovery.
    assert {line.partition(":")[0] for line in lines} == {
        "queues",
        "routes",
        "visibility-timeout",
        "time-limit",
    }
    assert any("operations.tasks.prune" in line for line in lines)


# What is wrong, then for each problem the rule and what its line must say.
CASES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "another broker": (
        'app.conf.broker_url = "redis://:pw@10.0.0.9:6380/0"',
        [("broker", "broker_url (CELERY_BROKER_URL) has host 10.0.0.9 instead of 127.0.0.1, port 6380 "
                    "instead of 6379, db 0 instead of 1")],
    ),
    "one of several brokers": (
        'app.conf.broker_url = "redis://:pw@127.0.0.1/1;redis://:pw@127.0.0.1/3"',
        [("broker", "db 3 instead of 1")],
    ),
    "a broker for writing only": (
        'app.conf.broker_write_url = "rediss://:pw@127.0.0.1/4"',
        [("broker", "broker_write_url (CELERY_BROKER_WRITE_URL) has db 4 instead of 1")],
    ),
    "no broker": ("app.conf.broker_url = None", [("broker", "is (unset)")]),
    "a broker that is no Redis": (
        'app.conf.broker_url = "amqp://guest:pw@127.0.0.1//"',
        [("broker", "is amqp://**@127.0.0.1//")],
    ),
    "a sentinel with another db": (
        'app.conf.broker_url = "sentinel://:pw@10.0.0.8:26379/1;sentinel://:pw@10.0.0.9:26379/5"',
        [("broker", "has db 5 instead of 1")],
    ),
    "a socket with another db": (
        'app.conf.broker_url = "redis+socket:///run/redis.sock?virtual_host=6"',
        [("broker", "has db 6 instead of 1")],
    ),
    "other results": (
        'app.conf.result_backend = "redis://:pw@127.0.0.1/1"',
        [("results", "result_backend (CELERY_RESULT_BACKEND) has db 1 instead of 2")],
    ),
    "the default queue": (
        'app.conf.task_default_queue = "celery"',
        [("default-queue", "task_default_queue (CELERY_TASK_DEFAULT_QUEUE) is 'celery': no worker pool")],
    ),
    "a declared queue": (
        'from kombu import Queue\napp.conf.task_queues = [Queue("default"), Queue("mail")]',
        [("queues", "task_queues (CELERY_TASK_QUEUES) has 'mail'")],
    ),
    "a declared queue, as a dictionary": (
        'app.conf.task_queues = {"default": {}, "mail": {"exchange": "mail"}}',
        [("queues", "has 'mail'")],
    ),
    "a route": (
        'app.conf.task_routes = {"project.*": {"queue": "slow"}, "gone.task": "old"}',
        [("routes", "task_routes (CELERY_TASK_ROUTES) sends gone.task to 'old'"),
         ("routes", "sends project.* to 'slow'"),
         ("routes", "the tasks project.work go to 'slow'")],
    ),
    "a router": (
        "app.conf.task_routes = [lambda name, *args, **options: {'queue': 'slow'}]",
        [("routes", "the tasks project.work go to 'slow'")],
    ),
    "a router that fails": (
        "app.conf.task_routes = [lambda name, args, kwargs, options, task=None: {'queue': kwargs['x']}]",
        [("routes", "cannot tell the queue of project.work: KeyError('x')")],
    ),
    "a queue that may not be made": (
        "app.conf.task_create_missing_queues = False\n@app.task(queue='slow')\ndef slow(): pass",
        [("routes", "cannot tell the queue of project.slow: QueueNotFound")],
    ),
    "a task's own queue": (
        "@app.task(queue='slow')\ndef slow(): pass",
        [("routes", "the tasks project.slow go to 'slow'")],
    ),
    "many tasks": (
        "def many(): pass\nfor n in range(7): app.task(many, name=f'many.t{n}', queue='slow')",
        [("routes", "many.t0, many.t1, many.t2, many.t3, many.t4 and 2 more go to 'slow'")],
    ),
    "a periodic task's queue": (
        "app.conf.beat_schedule = {'nightly': {'task': 'project.work', 'schedule': 60, "
        "'options': {'queue': 'night'}}}",
        [("beat-queues", "beat_schedule (CELERY_BEAT_SCHEDULE), entry nightly, has the queue 'night'")],
    ),
    "a periodic task that is not there": (
        "@app.on_after_finalize.connect\ndef more(sender, **_):\n"
        "    sender.add_periodic_task(60, sender.signature('project.gone'), name='hourly')",
        [("beat-tasks", "entry hourly, has the task 'project.gone'")],
    ),
    "pickle": (
        "app.conf.update(task_serializer='pickle', result_serializer='yaml', "
        "accept_content=['json', 'pickle'], result_accept_content=['application/x-yaml'])",
        [("serializers", "task_serializer (CELERY_TASK_SERIALIZER) is 'pickle'"),
         ("serializers", "result_serializer (CELERY_RESULT_SERIALIZER) is 'yaml'"),
         ("serializers", "accept_content (CELERY_ACCEPT_CONTENT) has pickle"),
         ("serializers", "result_accept_content (CELERY_RESULT_ACCEPT_CONTENT) has application/x-yaml")],
    ),
    "a task's own serializer": (
        "@app.task(serializer='pickle')\ndef pickled(): pass",
        [("serializers", "the tasks project.pickled have a serializer of their own")],
    ),
    "visibility timeouts": (
        "app.conf.broker_transport_options = {'visibility_timeout': 43200}\n"
        "app.conf.result_backend_transport_options = {'visibility_timeout': 60}",
        [("visibility-timeout", "broker_transport_options (CELERY_BROKER_TRANSPORT_OPTIONS) has "
                                "visibility_timeout 43200"),
         ("visibility-timeout", "has visibility_timeout 60")],
    ),
    "the time limit": (
        "app.conf.task_time_limit = 3301",
        [("time-limit", "task_time_limit (CELERY_TASK_TIME_LIMIT) is 3301")],
    ),
    "a task's own time limit": (
        "@app.task(time_limit=7200)\ndef slow(): pass",
        [("time-limit", "time_limit of the task project.slow is 7200")],
    ),
    "early acknowledgement": (
        "app.conf.task_acks_late = False",
        [("acks-late", "task_acks_late (CELERY_TASK_ACKS_LATE) is False")],
    ),
    "a lost connection": (
        "app.conf.worker_cancel_long_running_tasks_on_connection_loss = True",
        [("connection-loss", "CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS")],
    ),
    "results that are not tried again": (
        "app.conf.result_backend_always_retry = False",
        [("result-retry", "result_backend_always_retry (CELERY_RESULT_BACKEND_ALWAYS_RETRY) is False")],
    ),
}  # fmt: skip


def test_keys_must_have_the_prefix_that_redis_allows(write: Any) -> None:
    options = (
        "app.conf.{0}_transport_options = {{**app.conf.{0}_transport_options, 'global_keyprefix': 'shop:'}}\n"
    )
    broker, results = options.format("broker"), options.format("result_backend")
    assert audit(write(broker + results), key_prefix="shop:") == (0, [])
    assert audit(write(broker + results)) == (0, []), "without one in the inventory all keys are allowed"
    status, lines = audit(write(broker), key_prefix="shop:")
    assert status == 1
    (line,) = lines
    assert line.startswith(
        "key-prefix: result_backend_transport_options (CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS)"
    )
    assert "REDIS_KEY_PREFIX" in line


@pytest.mark.parametrize("case", CASES)
def test_a_broken_rule_is_reported(write: Any, case: str) -> None:
    code, wanted = CASES[case]
    status, lines = audit(write(code))
    assert status == 1
    assert [line.partition(":")[0] for line in lines] == [rule for rule, _ in wanted]
    for line, (_, part) in zip(lines, wanted, strict=True):
        assert part in line
        assert ". Fix: " in line
        assert "pw" not in line


@pytest.mark.parametrize(
    "code",
    [
        "app.conf.result_backend = None\napp.conf.result_backend_always_retry = False",
        "app.conf.result_backend = 'disabled://'",
        "app.conf.result_backend = 'django-db'",
        "app.conf.broker_url = 'sentinel://:pw@10.0.0.8:26379/1'",
        "app.conf.broker_url = 'redis+socket:///run/redis.sock?virtual_host=1'",
        "app.conf.broker_transport_options = {}",
        "app.conf.task_time_limit = 3300",
        "@app.task(acks_late=False)\ndef once(): pass",
        "app.conf.task_routes = {'project.*': {'queue': 'critical', 'routing_key': 'x'}}",
        "app.conf.task_routes = [[('project.work', 'critical'), ('other.*', {'priority': 1})]]",
        "from kombu.common import Broadcast\napp.conf.task_queues = [Broadcast('default')]",
    ],
)
def test_what_is_right_passes(write: Any, code: str) -> None:
    assert audit(write(code)) == (0, [])


def test_all_problems_are_reported_at_once_and_each_can_be_waived(write: Any) -> None:
    code = "app.conf.update(task_acks_late=False, task_time_limit=9999, result_backend_always_retry=False)"
    rules = ["time-limit", "acks-late", "result-retry"]
    status, lines = audit(write(code))
    assert (status, [line.partition(":")[0] for line in lines]) == (1, rules)
    status, lines = audit(write(code), waived=rules[:2])
    assert (status, [line.partition(":")[0] for line in lines]) == (1, rules[2:])
    assert audit(write(code), waived=rules) == (0, [])


def test_tasks_without_a_route_are_named_where_their_default_queue_is_not(write: Any) -> None:
    _, (line,) = audit(write("app.conf.task_default_queue = 'celery'"), waived=["default-queue"])
    assert "the tasks project.work go to 'celery'" in line


def test_a_rule_that_does_not_exist_cannot_be_waived(write: Any) -> None:
    status, (line,) = audit(write(), waived=["routes", "ack-late"])
    assert status == 1
    assert line.startswith(
        "waived: celery_audit_waived has 'ack-late', which is no rule; there are versions, "
    )


@pytest.mark.parametrize("url", [f"redis://:{PASSWORD}@127.0.0.1/1", f"redis://{PASSWORD}@127.0.0.1/1"])
def test_a_password_that_was_not_encoded_is_not_shown(write: Any, url: str) -> None:
    status, lines = audit(write(f"app.conf.broker_url = {url!r}\nraise ValueError(app.conf.broker_url)"))
    assert status == 1
    text = "\n".join(lines)
    assert "cannot be loaded" in text
    assert "s3cret" not in text
    status, lines = audit(write(f"app.conf.broker_url = {url!r}"))
    assert status == 1
    assert lines[0].startswith("broker: ")
    assert "s3cret" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import gone", "ModuleNotFoundError: No module named 'gone'"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("raise RuntimeError('redis://:pw@host/1 is away')", "RuntimeError: redis://**@host/1 is away"),
    ],
)
def test_a_module_of_tasks_that_cannot_be_imported(write: Any, code: str, message: str) -> None:
    directory = write("app.conf.imports = ['tasks']")
    (directory / "tasks.py").write_text(code)
    status, lines = audit(directory)
    assert status == 1
    assert lines[0] == "The Celery application project cannot be loaded. The last lines:"
    assert lines[-1] == message
    assert any("tasks.py" in line for line in lines)
    assert len(lines) < 12


def test_an_application_that_is_not_there(tmp_path: Path) -> None:
    status, lines = audit(tmp_path, "nothing")
    assert status == 1
    assert lines[-1] == "ModuleNotFoundError: No module named 'nothing'"


# --- What the inventory lacks

LACKING = """
app.conf.update(
    task_default_queue="celery", task_acks_late=False, result_backend_always_retry=False,
    task_serializer="pickle", accept_content=["json", "pickle"],
    worker_cancel_long_running_tasks_on_connection_loss=True,
    broker_transport_options={"socket_timeout": 5},
    result_backend_transport_options={"visibility_timeout": 60},
)
"""


def test_each_line_says_what_to_paste_and_what_is_lost_without(write: Any) -> None:
    _, lines = audit(write("app.conf.task_acks_late = False"))
    (line,) = lines
    assert line.endswith(
        " Fix: write celery_settings: {task_acks_late: true} into the inventory. With celery_audit_waived: "
        "[acks-late] instead, a worker that dies or is stopped loses the tasks that it has begun."
    )


def test_all_that_is_missing_is_one_block_and_pasting_it_is_enough(write: Any) -> None:
    directory = write(LACKING)
    done = run(directory, visibility_timeout=7200, key_prefix="shop:")
    assert done.returncode == 1
    inventory = yaml.safe_load(done.stderr.partition(BLOCK)[2].partition("\n")[2])
    options = {"visibility_timeout": 7200, "global_keyprefix": "shop:"}
    assert inventory == {
        "celery_settings": {
            "task_default_queue": "default",
            "task_acks_late": True,
            "result_backend_always_retry": True,
            "task_serializer": "json",
            "accept_content": ["json"],
            "worker_cancel_long_running_tasks_on_connection_loss": False,
            "broker_transport_options": options,
            "result_backend_transport_options": options,
        }
    }
    done = given(directory, inventory["celery_settings"], visibility_timeout=7200, key_prefix="shop:")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_block_has_what_the_inventory_has_already(write: Any) -> None:
    has = {
        "result_expires": 60,
        "broker_transport_options": {"max_retries": 3},
        "CELERY_TASK_IGNORE_RESULT": True,
        "tusk_aks_lite": 1,
    }
    done = given(write("app.conf.task_acks_late = False"), has, visibility_timeout=1800, time_limit_margin=0)
    inventory = yaml.safe_load(done.stderr.partition(BLOCK)[2].partition("\n")[2])
    assert inventory["celery_settings"] == {
        "result_expires": 60,
        "task_ignore_result": True,
        "task_acks_late": True,
        "broker_transport_options": {"max_retries": 3, "visibility_timeout": 1800},
        "result_backend_transport_options": {"visibility_timeout": 1800},
    }


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "CELERY_TASK_ACKS_LATE",
            True,
            "its name is task_acks_late. Fix: write celery_settings: {task_acks_late: ",
        ),
        (
            "CELERY_ACKS_LATE",
            True,
            "its name is task_acks_late. Fix: write celery_settings: {task_acks_late: true}",
        ),
        (
            "Task_Acks_Late",
            True,
            "its name is task_acks_late. Fix: write celery_settings: {task_acks_late: true}",
        ),
        ("task_ack_late", True, "it would have no effect. Fix: write task_acks_late or "),
        ("nothing_like_it", 1, "it would have no effect. Fix: remove nothing_like_it."),
        (
            "task_acks_late",
            "yes",
            'task_acks_late is "yes": it is text, and must be true or false. Fix: write',
        ),
        ("result_expires", "1h", 'result_expires is "1h": it is text, and must be a number. Fix: write'),
    ],
)
def test_settings_that_celery_does_not_have_are_refused(
    write: Any, name: str, value: object, line: str
) -> None:
    done = given(write(), {name: value})
    assert done.returncode == 1
    said = done.stderr.splitlines()[0]
    assert said.startswith("settings: celery_settings")
    assert line in said


def test_settings_that_celery_has_pass(write: Any) -> None:
    settings = {"broker_use_ssl": False, "result_expires": 60, "beat_scheduler": "a:B", "task_routes": {}}
    done = given(write(), settings)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("celery", "kombu", "said", "noted"),
    [
        ("5.2.7", "5.2.4", True, False),
        ("4.4.7", "4.6.11", True, False),
        ("5.3.0", "5.3.1", False, False),
        ("5.7.9", "5.7.0", False, False),
        ("5.8.0rc1", "5.7.0", False, True),
        ("5.7.0", "5.8.0", False, True),
        ("6.0.0", "6.0.0", False, True),
    ],
)
def test_versions_are_told(write: Any, celery: str, kombu: str, said: bool, noted: bool) -> None:
    """Of what is installed the metadata say it, so the version of another one can be pretended."""
    directory = write()
    for name, number in (("celery", celery), ("kombu", kombu)):
        (directory / f"{name}-{number}.dist-info").mkdir()
        (directory / f"{name}-{number}.dist-info/METADATA").write_text(f"Name: {name}\nVersion: {number}\n")
    done = run(directory)
    assert done.returncode == (1 if said else 0)
    if said:
        assert done.stderr.startswith(f"versions: the release has celery {celery}, kombu {kombu}, redis ")
        assert "workers need celery 5.3 to 5.7. Fix: require celery[redis]>=5.3 in" in done.stderr
    if noted:
        assert done.stdout.startswith(
            f"Not tried: versions: the release has celery {celery}, kombu {kombu}, "
        )
    else:
        assert done.stdout == ""
    assert run(directory, waived=["versions"]).stdout == ""


FORBIDDEN = "-NOPERM this user has no permissions to run the command\r\n"


def text(answer: str) -> str:
    """Return a text as Redis sends it."""
    return f"${len(answer)}\r\n{answer}\r\n"


class Information(socketserver.StreamRequestHandler):
    """As much of Redis as a client asks when it connects, INFO and CONFIG GET."""

    info: ClassVar[str]
    config: ClassVar[dict[str, str]]

    def handle(self) -> None:
        while header := self.rfile.readline():
            words = [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(int(header[1:]))]
            name = words[-1].decode()
            found = f"%1\r\n{text(name)}{text(self.config[name])}" if name in self.config else FORBIDDEN
            answers = {
                b"HELLO": "%1\r\n+proto\r\n:3\r\n",
                b"PING": "+PONG\r\n",
                b"INFO": text(self.info) if self.info else FORBIDDEN,
                b"CONFIG": found,
            }
            self.wfile.write(answers.get(words[0], "+OK\r\n").encode())


SERVICE = ("127.0.0.1", 0)
KEEPS = "maxmemory_policy:noeviction\r\naof_enabled:1\r\n"
# Rule, and what is not told.
UNSEEN = [
    "Not seen: eviction: the broker at 127.0.0.1 does not tell its maxmemory-policy",
    "Not seen: durability: the broker at 127.0.0.1 does not tell its appendonly",
]


@pytest.fixture
def managed(write: Any) -> Iterator[Any]:
    """Return a function that audits an application whose broker or results tell something of themselves."""
    with socketserver.ThreadingTCPServer(SERVICE, Information) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]

        def ask(
            info: str,
            config: dict[str, str] | None = None,
            uses: str = "broker",
            code: str = "",
            verified: bool = False,
            waived: tuple[str, ...] = (),
        ) -> "subprocess.CompletedProcess[str]":
            Information.info, Information.config = info, config or {}
            expected: dict[str, Any] = {"waived": waived}
            for use in uses.split():
                name, db = {"broker": ("broker_url", 1), "results": ("result_backend", 2)}[use]
                code = f'app.conf.{name} = "redis://127.0.0.1:{port}/{db}"\n{code}'
                address = {"host": "127.0.0.1", "port": port, "db": db}
                expected[use] = address | {"managed": True, "verified": verified}
            return run(write(code), **expected)

        yield ask
        server.shutdown()


def rules(lines: str) -> list[list[str]]:
    """Return rule and beginning of each line."""
    return [line.split(": ")[:2] for line in lines.splitlines()]


def test_a_managed_broker_that_keeps_its_tasks_passes(managed: Any) -> None:
    done = managed(KEEPS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_managed_broker_that_throws_tasks_away_is_refused(managed: Any) -> None:
    wrong = "maxmemory_policy:volatile-lru\r\naof_enabled:0\r\n"
    done = managed(wrong)
    assert (done.returncode, done.stdout) == (1, "")
    assert rules(done.stderr) == [
        ["eviction", "the broker's maxmemory_policy is volatile-lru"],
        ["durability", "the broker's appendonly is off"],
    ]
    # Who can do without the one still wants to know of the other.
    assert [rule for rule, _ in rules(managed(wrong, waived=["durability"]).stderr)] == ["eviction"]
    assert managed(wrong, waived=["durability", "eviction"]).returncode == 0


@pytest.mark.parametrize("status", ["aof_last_write_status", "rdb_last_bgsave_status"])
def test_a_managed_broker_that_cannot_write_to_its_disk_is_refused(managed: Any, status: str) -> None:
    assert managed(f"{KEEPS}{status}:ok\r\n").returncode == 0
    assert rules(managed(f"{KEEPS}{status}:err\r\n").stderr) == [
        ["durability", f"the broker's {status} is err"]
    ]


@pytest.mark.parametrize("info", ["", "redis_version:7.4.0\r\n"], ids=["forbidden", "without them"])
def test_what_info_does_not_tell_is_asked_by_config(managed: Any, info: str) -> None:
    done = managed(info, {"maxmemory-policy": "noeviction", "appendonly": "yes"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = managed(info, {"maxmemory-policy": "allkeys-lru", "appendonly": "no"})
    assert done.returncode == 1
    assert [rule for rule, _ in rules(done.stderr)] == ["eviction", "durability"]


@pytest.mark.parametrize("info", ["", "redis_version:7.4.0\r\n"], ids=["forbidden", "without them"])
def test_what_a_managed_broker_does_not_tell_is_said_and_not_refused(managed: Any, info: str) -> None:
    done = managed(info, code="print('Hello from the application')\n")
    assert (done.returncode, done.stderr) == (0, "")
    said = [line for line in done.stdout.splitlines() if line.startswith("Not seen: ")]
    assert [line.partition(":")[0] for line in said] == ["Not seen", "Not seen"]
    assert [line[: len(wanted)] for line, wanted in zip(said, UNSEEN, strict=True)] == UNSEEN
    assert "it must be noeviction" in said[0]
    # What was waived is nobody's worry.
    assert managed(info, waived=["eviction", "durability"]).stdout == ""


def test_what_is_seen_is_refused_beside_what_is_not(managed: Any) -> None:
    done = managed("maxmemory_policy:allkeys-lfu\r\n")
    assert done.returncode == 1
    assert [rule for rule, _ in rules(done.stderr)] == ["eviction"]
    assert rules(done.stdout) == [["Not seen", "durability"]]


def test_managed_results_that_are_thrown_away_are_refused(managed: Any) -> None:
    assert managed("maxmemory_policy:noeviction\r\naof_enabled:0\r\n", uses="results").returncode == 0
    done = managed("maxmemory_policy:allkeys-lru\r\n", uses="results")
    assert rules(done.stderr) == [["result-eviction", "the maxmemory_policy of the results is allkeys-lru"]]
    done = managed("", uses="results")
    assert (done.returncode, rules(done.stdout)) == (0, [["Not seen", "result-eviction"]])
    # Results that are no Redis are not asked.
    assert managed("", uses="results", code="app.conf.result_backend = 'django-db'\n").returncode == 0


def test_broker_and_results_of_one_server_are_one_problem(managed: Any) -> None:
    done = managed("maxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n", uses="broker results")
    assert [rule for rule, _ in rules(done.stderr)] == ["eviction"]


@pytest.mark.parametrize(("use", "variable"), [("broker", "app_broker_url"), ("results", "app_result_url")])
def test_a_service_whose_certificate_is_not_checked_is_refused(managed: Any, use: str, variable: str) -> None:
    assert managed(KEEPS, uses=use).returncode == 0
    done = managed(KEEPS, uses=use, verified=True)
    (line,) = done.stderr.splitlines()
    assert line.startswith("verified: the ")
    assert variable in line


@pytest.mark.parametrize("url", [f"redis://:{PASSWORD}@127.0.0.1/1", f"redis://{PASSWORD}@127.0.0.1/1"])
def test_a_password_of_a_managed_service_that_was_not_encoded_is_not_shown(write: Any, url: str) -> None:
    for use, name in (("broker", "broker_url"), ("results", "result_backend")):
        done = run(write(f"app.conf.{name} = {url!r}"), **{use: EXPECTED[use] | {"managed": True}})
        assert done.returncode == 1
        assert rules(done.stderr)[0][0] == use
        assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.parametrize(("use", "name"), [("broker", "broker_url"), ("results", "result_backend")])
def test_a_managed_service_that_does_not_answer_is_named(write: Any, use: str, name: str) -> None:
    with socketserver.TCPServer(SERVICE, Information) as server:
        port = server.server_address[1]
    address: Any = {"host": "127.0.0.1", "port": port, "db": 1, "managed": True}
    code = f'app.conf.{name} = "redis://:pw@127.0.0.1:{port}/1"\n'
    status, (line,) = audit(write(code), **{use: address})
    assert status == 1
    assert line.startswith("reachable: the ")
    assert " cannot be asked: " in line
    assert {"broker": "app_broker_url", "results": "app_result_url"}[use] in line


def test_a_broker_that_is_no_redis_is_not_asked(write: Any) -> None:
    broker = EXPECTED["broker"] | {"managed": True}
    _, lines = audit(write('app.conf.broker_url = "amqp://guest:pw@127.0.0.1:1//"'), broker=broker)
    assert [line.partition(":")[0] for line in lines] == ["broker"]
