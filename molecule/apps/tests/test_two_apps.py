"""Each application serves its own page with its own workers, and neither knows of the other."""

import re
from pathlib import Path

import pytest
from testinfra.host import Host

from stack import PROJECT, Stack, ansible_vault, wait_for

VAULTS = PROJECT / "molecule/apps/inventory/group_vars"
PICTURE = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"


def submit(stack: Stack, fields: dict[str, str], files: dict[str, tuple[str, bytes]] | None = None) -> None:
    """Send the form of the page as a browser does."""
    session = stack.session()
    page = session.get(stack.url("/"), timeout=30)
    assert page.status_code == 200, page.text
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token
    answer = session.post(
        stack.url("/"),
        data={**fields, "csrfmiddlewaretoken": token.group(1)},
        files=files,
        # The cookie is for the site's name, which is not the address.
        headers={
            "Origin": f"https://{stack.domain}",
            "Cookie": f"csrftoken={session.cookies['csrftoken']}",
        },
        timeout=30,
        allow_redirects=False,
    )
    assert answer.status_code == 302, answer.text


@pytest.fixture(scope="module")
def signed(guestbook: Stack) -> str:
    """An entry with a picture; returns the page when the worker has thanked for it."""
    submit(guestbook, {"name": "Ada", "text": "from the tests"}, {"picture": ("ada.svg", PICTURE)})
    return wait_for(
        lambda: (text := guestbook.get("/").text) and "Thank you!" in text and text,
        30,
        "a worker has thanked",
    )


@pytest.fixture(scope="module")
def rendered(pages: Stack) -> str:
    submit(pages, {"source": "rendered by a worker"})
    return wait_for(
        lambda: (text := pages.get("/").text) and "<p>rendered by a worker</p>" in text and text,
        30,
        "a worker has rendered",
    )


def test_the_project_from_git_does_its_work(signed: str) -> None:
    assert "Ada: from the tests" in signed
    assert "Pages" not in signed


def test_the_package_from_an_index_does_its_work(rendered: str) -> None:
    assert "<h1>Pages</h1>" in rendered
    assert "Ada" not in rendered


def test_its_static_files_come_from_where_it_collects_them(guestbook: Stack, pages: Stack) -> None:
    for stack, path in ((guestbook, "/static/guestbook.css"), (pages, "/static/pages/pages.css")):
        answer = stack.get(path)
        assert answer.status_code == 200
        assert "font-family" in answer.text
        # By Nginx: Django serves none here.
        assert "max-age=3600" in answer.headers["Cache-Control"]


def test_what_is_uploaded_stays_when_the_release_goes_and_runs_nothing(guestbook: Stack, signed: str) -> None:
    path = re.search(r'href="(/media/pictures/[^"]+)"', signed)
    assert path
    answer = guestbook.get(path.group(1))
    assert answer.content == PICTURE
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "max-age=" in answer.headers["Strict-Transport-Security"]
    assert guestbook.host.file(f"/srv/guestbook/shared{path.group(1)}").exists


def test_it_reads_its_environment_by_its_own_names(guestbook: Stack, pages: Stack) -> None:
    own = guestbook.host.check_output("cut -d= -f1 /etc/guestbook/app.env")
    assert {"GUESTBOOK_DB", "GUESTBOOK_QUEUE", "GUESTBOOK_KEY"} <= set(own.split())
    assert not {"DATABASE_URL", "CELERY_BROKER_URL", "SECRET_KEY"} & set(own.split())
    standard = pages.host.check_output("cut -d= -f1 /etc/pages/app.env")
    assert {"DATABASE_URL", "CELERY_BROKER_URL", "SECRET_KEY"} <= set(standard.split())


def test_it_is_served_by_asgi_where_it_says_so(pages: Stack, guestbook: Stack) -> None:
    ask = (
        "import http.client, socket\n"
        "connection = http.client.HTTPConnection('localhost')\n"
        "connection.sock = socket.socket(socket.AF_UNIX)\n"
        "connection.sock.connect('/srv/pages/web.sock')\n"
        "headers = {'Host': 'pages.test', 'X-Forwarded-Proto': 'https'}\n"
        "connection.request('GET', '/readyz', headers=headers)\n"
        "print(connection.getresponse().read().decode())"
    )
    assert '"request": "ASGIRequest"' in pages.host.check_output("python3 -c %s", ask)


def test_a_command_of_the_deployment_ran_once(pages: Stack) -> None:
    code = (
        "from pages.models import Page\n"
        "print(json.dumps(Page.objects.filter(source=arguments['source']).count()))"
    )
    assert pages.python(code, {"source": "Welcome"}) == 1


def test_beat_of_the_one_sends_to_its_own_worker(pages: Stack) -> None:
    code = "from pages.models import Count\nprint(json.dumps(Count.objects.count()))"
    before = pages.python(code)
    wait_for(lambda: pages.python(code) > before, 30, "another count")


def test_nobody_reads_the_secrets_of_the_other(host: Host) -> None:
    for user, other in (("guestbook", "pages"), ("pages", "guestbook")):
        assert host.run(f"runuser -u {user} -- cat /etc/{user}/app.env").rc == 0
        assert host.run(f"runuser -u {user} -- cat /etc/{other}/app.env").rc != 0
        assert host.run(f"runuser -u {user} -- ls /srv/{other}/shared").rc != 0
        assert host.run(f"runuser -u {user} -- touch /srv/{user}/current/x").rc != 0


def test_each_has_a_database_and_a_role_of_its_own(guestbook: Stack, pages: Stack) -> None:
    code = (
        "from django.db import connection\n"
        "with connection.cursor() as cursor:\n"
        "    cursor.execute('SELECT current_database(), current_user')\n"
        "    print(json.dumps(cursor.fetchone()))"
    )
    assert guestbook.python(code) == ["guestbook", "guestbook"]
    assert pages.python(code) == ["pages", "pages"]


def test_each_has_databases_of_redis_of_its_own(guestbook: Stack, pages: Stack) -> None:
    code = (
        "import os\n"
        "from urllib.parse import urlsplit\n"
        "print(json.dumps([urlsplit(os.environ[name]).path for name in arguments['names']]))"
    )
    first = guestbook.python(code, {"names": ["GUESTBOOK_CACHE", "GUESTBOOK_QUEUE", "GUESTBOOK_RESULTS"]})
    second = pages.python(code, {"names": ["CACHE_URL", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"]})
    assert (first, second) == (["/0", "/1", "/2"], ["/3", "/4", "/5"])


def test_flower_shows_each_its_own_workers(guestbook: Stack, pages: Stack) -> None:
    def online(stack: Stack) -> set[str]:
        login = ("flower", ansible_vault(VAULTS / stack.app / "vault.yml")["vault_flower_password"])
        answer = stack.get("/flower/api/workers?status=true", auth=login)
        assert answer.status_code == 200
        return {name.split(".")[0] for name, is_online in answer.json().items() if is_online}

    wait_for(lambda: online(guestbook) == {"mail"}, 30, "Flower sees the guestbook's worker")
    wait_for(lambda: online(pages) == {"render", "default"}, 30, "Flower sees the workers of pages")


def test_the_password_of_one_flower_does_not_open_the_other(guestbook: Stack) -> None:
    password = ansible_vault(VAULTS / "pages/vault.yml")["vault_flower_password"]
    assert guestbook.get("/flower/", auth=("flower", password)).status_code == 401


def test_a_name_of_neither_gets_no_answer(guestbook: Stack, tmp_path: Path) -> None:
    script = "import http.client; c = http.client.HTTPConnection('127.0.0.1', 80); c.request('GET', '/')"
    result = guestbook.host.run("python3 -c %s", f"{script}; c.getresponse()")
    assert "RemoteDisconnected" in result.stderr


def test_packages_may_start_their_services(host: Host) -> None:
    """Both hosts have installed the same packages at the same time, and nothing may stay of that."""
    assert not host.file("/usr/sbin/policy-rc.d").exists


def test_both_may_trust_a_certificate_at_once(host: Host) -> None:
    """The store has both certificates, and all that it had before."""
    script = (PROJECT / "roles/trust/files/trust").read_text()
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout /dev/null -subj /CN=%s 2>/dev/null"
    certificates = [host.check_output(make, name) for name in ("one", "two")]
    store = "grep --count BEGIN /etc/ssl/certs/ca-certificates.crt"
    before = int(host.check_output(store))
    both = 'sh -c "$1" trust test-one "$2" & sh -c "$1" trust test-two "$3"; wait $!'
    assert host.check_output("sh -euc %s both %s %s %s", both, script, *certificates) == "trusted\ntrusted"
    assert int(host.check_output(store)) == before + 2
