"""What the tests of a deployed stack share: ways to ask its running services."""

import base64
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import requests
import yaml
from requests.adapters import HTTPAdapter
from testinfra.host import Host

PROJECT = Path(__file__).resolve().parent.parent
APP = "shop"
DOMAIN = "localhost"
DEMO_VAULT = PROJECT / "inventories/demo/group_vars/all/vault.yml"

T = TypeVar("T")


def wait_for(check: Callable[[], T], seconds: float, what: str) -> T:
    """Polls until check() is true and returns its value; AssertionError after the given seconds."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)
    return value


def ansible(
    *arguments: str, inventory: str, check: bool = True, playbook: str = "site"
) -> subprocess.CompletedProcess[str]:
    """Runs a playbook, site.yml if no other, as a user would, with the given options."""
    return subprocess.run(
        [PROJECT / ".venv/bin/ansible-playbook", "-i", inventory, f"playbooks/{playbook}.yml", *arguments],
        cwd=PROJECT,
        # Molecule asks for colours, which would hide the figures of the recap.
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"},
        capture_output=True,
        text=True,
        check=check,
    )


def ansible_vault(path: Path = DEMO_VAULT) -> dict[str, str]:
    """The secrets in a vault file: those of the demo, which most test servers share, if no other is named."""
    text = subprocess.run(
        [PROJECT / ".venv/bin/ansible-vault", "view", path],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {str(name): str(value) for name, value in yaml.safe_load(text).items()}


def recap(output: str) -> dict[str, dict[str, int]]:
    """The figures per host of a PLAY RECAP."""
    lines = re.findall(r"^(\S+)\s+: (ok=.*)$", output, re.MULTILINE)
    return {host: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", figures)} for host, figures in lines}


class _ServerName(HTTPAdapter):
    """Speaks to an address, but asks for and checks the certificate of the site's name."""

    def __init__(self, domain: str) -> None:
        self.domain = domain
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        name = self.domain
        super().init_poolmanager(*args, server_hostname=name, assert_hostname=name, **kwargs)


class Stack:
    """One server with the whole stack, and one application on it; the site may be another server's."""

    def __init__(
        self,
        host: Host,
        certificates: Path,
        app: str = APP,
        domain: str = DOMAIN,
        site: Host | None = None,
    ) -> None:
        self.host, self.app, self.domain = host, app, domain
        self.site = site or host
        self.find_address()
        self.certificate = certificates / f"{self.site.backend.get_hostname()}.crt"
        self.certificate.write_text(self.site.check_output(f"cat /etc/ssl/rootstock/{app}.crt"))

    def find_address(self) -> None:
        """Asks for the site's address, which may be another one after a start."""
        addresses = self.site.check_output("hostname -I").split()
        self.address = next(a for a in addresses if ":" not in a)

    def session(self) -> requests.Session:
        """A browser's session with the site through Nginx and TLS, its certificate checked."""
        session = requests.Session()
        session.mount("https://", _ServerName(self.domain))
        session.headers["Host"] = self.domain
        session.verify = str(self.certificate)
        session.trust_env = False
        return session

    def url(self, path: str) -> str:
        return f"https://{self.address}{path}"

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        return self.session().get(self.url(path), timeout=30, allow_redirects=False, **kwargs)

    def python(self, code: str, arguments: Mapping[str, Any] | None = None, purpose: str = "") -> Any:
        """Runs code in the application's own environment; returns what it printed as JSON.

        The code finds its arguments in the dict `arguments`. With a purpose, such as WORKER, it is the user
        of Redis that programs of that purpose are.
        """
        user = f"runuser -u {self.app} -- env ROOTSTOCK_PURPOSE={purpose}"
        return self._python(user, "import django; django.setup()\n" + code, arguments)

    def redis(
        self,
        code: str,
        arguments: Mapping[str, Any] | None = None,
        url_variable: str = "CELERY_BROKER_URL",
    ) -> Any:
        """Likewise as root; `server` is the Redis of one of the application's URLs, by its user admin."""
        connect = (
            "import os, redis\nfrom urllib.parse import urlsplit\n"
            f"url = urlsplit(os.environ[{url_variable!r}])\n"
            "server = redis.Redis(host=url.hostname, port=url.port, db=int(url.path[1:]), username='admin',\n"
            "                     ssl=url.scheme == 'rediss',\n"
            "                     password=os.environ['REDIS_ADMIN_PASSWORD'], decode_responses=True)\n"
        )
        return self._python("", connect + code, arguments, "/etc/redis/rootstock.env")

    def _python(self, user: str, code: str, arguments: Mapping[str, Any] | None, *env_files: str) -> Any:
        program = (
            f"import json\narguments = json.loads({json.dumps(json.dumps(dict(arguments or {})))})\n{code}"
        )
        encoded = base64.b64encode(program.encode()).decode()
        files = " ".join([f"/etc/{self.app}/app.env", *env_files])
        output = self.host.check_output(
            f"cd /srv/{self.app}/current && echo {encoded} | base64 -d | {user} "
            "env PYTHONDONTWRITEBYTECODE=1 "
            f"/usr/local/lib/rootstock/with-env {files} -- .venv/bin/python -"
        )
        return json.loads(output.strip().splitlines()[-1])

    def denied(self, port: int = 6379) -> list[str]:
        """What Redis has refused to whom since it was started."""
        entries = self.host.check_output(
            '. /etc/redis/rootstock.env && REDISCLI_AUTH="$REDIS_ADMIN_PASSWORD" '
            f"redis-cli -p {port} --user admin --json ACL LOG"
        )
        return [
            f"{entry['username']}: {entry['object']} ({entry['context']}, {entry['reason']})"
            for entry in json.loads(entries)
        ]

    def redis_config(self, url_variable: str = "CELERY_BROKER_URL") -> dict[str, str]:
        """CONFIG GET * of the Redis behind one of the application's URLs."""
        code = "print(json.dumps(server.config_get('*')))"
        config: dict[str, str] = self.redis(code, url_variable=url_variable)
        return config

    def send(self, task: str, *args: Any, queue: str, wait: float | None = 30) -> Any:
        """Publishes a task; returns its result, or its id where wait is None."""
        code = (
            "from shop.celery import app\n"
            "result = app.send_task(arguments['task'], arguments['args'], queue=arguments['queue'])\n"
            "wait = arguments['wait']\n"
            "print(json.dumps(result.id if wait is None else result.get(timeout=wait)))"
        )
        return self.python(code, {"task": task, "args": args, "queue": queue, "wait": wait})

    def programs(self) -> dict[str, str]:
        """Supervisor's programs and their states."""
        lines = self.host.run("supervisorctl status").stdout.splitlines()
        return {line.split()[0]: line.split()[1] for line in lines}


@contextmanager
def broker_setting(stack: Stack, name: str, value: str) -> Iterator[None]:
    """The Redis of CELERY_BROKER_URL with another setting."""
    code = (
        "before = server.config_get(arguments['name'])[arguments['name']]\n"
        "server.config_set(arguments['name'], arguments['value'])\n"
        "print(json.dumps(before))"
    )
    before = stack.redis(code, {"name": name, "value": value})
    try:
        yield
    finally:
        stack.redis(code, {"name": name, "value": before})
