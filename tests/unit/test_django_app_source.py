"""Where role django_app takes an application from, by the role's own tasks: no host is connected to."""

import json
import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from rendering import evaluate, trusted, variables_of
from repository import PROJECT

PLAY = """
- hosts: all
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.import_role: {name: django_app, tasks_from: identify}
    - ansible.builtin.debug:
        msg: "FACTS {{ [inventory_hostname, django_app_release_id, django_app_release_archive] | to_json }}"
"""
DEFAULTS = {
    "django_app_name": "shop",
    "django_app_settings_module": "shop.settings",
    "django_app_source_ref": "main",
}


def git(directory: Path, *arguments: str) -> str:
    """Run Git in a repository; return what it prints."""
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "protocol.file.allow=always"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(repository: Path, text: str) -> str:
    """Commit a project in the directory backend; return the commit."""
    (repository / "backend").mkdir(exist_ok=True)
    (repository / "backend/requirements.txt").write_text("django\n")
    (repository / "backend/shop.py").write_text(text)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", text)
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose branch next is ahead of main."""
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch=main")
    commit(path, "1")
    git(path, "checkout", "--quiet", "-b", "next")
    commit(path, "next")
    git(path, "checkout", "--quiet", "main")
    return path


def identify(
    directory: Path, hosts: dict[str, dict[str, Any]], *options: str
) -> "subprocess.CompletedProcess[str]":
    """Run the role on hosts with these variables, as a user whose home is the directory."""
    inventory = {"all": {"hosts": {host: DEFAULTS | variables for host, variables in hosts.items()}}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (directory / "play.yml").write_text(PLAY)
    return subprocess.run(
        [
            PROJECT / ".venv/bin/ansible-playbook",
            "-i",
            directory / "hosts.yml",
            directory / "play.yml",
            *options,
        ],
        cwd=PROJECT,
        env={**os.environ, "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def facts(done: "subprocess.CompletedProcess[str]") -> dict[str, tuple[str, Path]]:
    """Return each host's release and archive."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"changed=(\d+)", done.stdout).count("0") == done.stdout.count("changed=")
    found = [json.loads(text.replace('\\"', '"')) for text in re.findall(r"FACTS (\[.*?\])", done.stdout)]
    return {host: (release, Path(archive)) for host, release, archive in found}


def refusal(done: "subprocess.CompletedProcess[str]") -> str:
    """Return what a run says that fails, on one line."""
    assert done.returncode == 2, done.stdout + done.stderr
    return " ".join(done.stdout.split())


def packed(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as tar:
        files = {member.name.partition("/")[2]: tar.extractfile(member) for member in tar if member.isfile()}
        return {name: file.read().decode() for name, file in files.items() if file}


def test_a_repository_is_fetched_for_all_hosts_and_again_when_it_has_changed(
    repository: Path, tmp_path: Path
) -> None:
    url = {"django_app_source": f"file://{repository}", "django_app_source_directory": "backend"}
    # Another application of the same repository is none of theirs.
    hosts = {
        "one": url,
        "two": url,
        "other": url | {"django_app_name": "other", "django_app_source_ref": "next"},
    }
    # Nothing is known of the repository yet, and check mode names the releases.
    named = facts(identify(tmp_path, hosts, "--check"))
    first = facts(identify(tmp_path, hosts))
    assert first == named
    assert first["one"] == first["two"] != first["other"]
    assert packed(first["one"][1]) == {"requirements.txt": "django\n", "shop.py": "1"}
    assert packed(first["other"][1])["shop.py"] == "next"
    checkouts = tmp_path / ".cache/rootstock/checkouts"
    assert len(list(checkouts.iterdir())) == 2
    assert checkouts.stat().st_mode & 0o777 == 0o700
    # Also over what an interrupted run has left.
    for file in checkouts.glob("*/backend/shop.py"):
        file.write_text("half")
    commit(repository, "2")
    second = facts(identify(tmp_path, hosts))
    assert packed(second["two"][1])["shop.py"] == "2"
    assert second["other"] == first["other"]


def test_a_version_that_is_not_there_is_named(repository: Path, tmp_path: Path) -> None:
    hosts = {host: {"django_app_source": f"file://{repository}"} for host in ("one", "two")}
    message = refusal(identify(tmp_path, hosts, "-e", "django_app_source_ref=nowhere"))
    assert f"could not be fetched from file://{repository} (app_source)." in message
    assert "'nowhere' (app_source_ref) is not in it: name a branch, a tag or a whole commit" in message
    assert "Git says: " in message
    assert "The application could not be fetched: one says why." in message
    assert "FACTS" not in message


def test_a_run_has_one_version_of_an_application(repository: Path, tmp_path: Path) -> None:
    url = {"django_app_source": f"file://{repository}"}
    message = refusal(identify(tmp_path, {"one": url, "two": url | {"django_app_source_ref": "next"}}))
    assert "django_app_source_ref is 'next' here and 'main' on one." in message


def test_a_rollback_asks_for_no_source(tmp_path: Path) -> None:
    state = {"releases": {"0123456789ab": ""}, "prepared": True}
    variables = {
        "django_app_source": "file:///nowhere",
        "django_app_release": "0123456789ab",
        "django_app_state": state,
    }
    done = identify(tmp_path, {"one": variables})
    assert done.returncode == 0, done.stdout
    assert '["one", "0123456789ab", ""]' in done.stdout.replace('\\"', '"')
    assert not (tmp_path / ".cache").exists()


def test_a_package_needs_no_files(tmp_path: Path) -> None:
    variables = {
        "django_app_source": "shop[web]==1.2.3",
        "django_app_extra_requirements": ["gunicorn==27.0.1"],
    }
    archive = facts(identify(tmp_path, {"one": variables}))["one"][1]
    assert packed(archive) == {
        "requirements.txt": "shop[web]==1.2.3\n",
        ".extra-requirements.txt": "gunicorn==27.0.1\n",
    }


def test_what_the_inventory_adds_is_part_of_the_name_and_no_secret_is_anywhere(tmp_path: Path) -> None:
    source = tmp_path / "shop"
    source.mkdir()
    (source / "requirements.txt").write_text("django\n")
    (tmp_path / "greeting.j2").write_text("hello {{ django_app_name }}\n")
    secret = {"path": "config/shop.ini", "content": "hunter2", "secret": True}
    template = {"path": "greeting.txt", "template": str(tmp_path / "greeting.j2")}
    plain = {"django_app_source": str(source), "django_app_files_key": "a"}
    hosts: dict[str, dict[str, Any]] = {
        "plain": plain,
        "secret": plain | {"django_app_files": [secret]},
        "same": plain | {"django_app_files": [secret | {"mode": "0640"}]},
        "content": plain | {"django_app_files": [secret | {"content": "hunter3"}]},
        "mode": plain | {"django_app_files": [secret | {"mode": "0750"}]},
        "key": plain | {"django_app_files": [secret], "django_app_files_key": "b"},
        "template": plain | {"django_app_files": [template, secret]},
        "rendered": plain | {"django_app_files": [template, secret], "django_app_name": "blog"},
        "overlay": plain | {"django_app_settings_overlay": "DEBUG = False"},
        "python": plain | {"django_app_python": "3.13"},
        "commands": plain | {"django_app_build_commands": ["true"]},
        "other-commands": plain | {"django_app_build_commands": ["false"]},
    }
    done = identify(tmp_path, hosts, "-v")
    found = facts(done)
    releases = {host: release for host, (release, _) in found.items()}
    assert releases["same"] == releases["secret"]
    assert len(set(releases.values())) == len(hosts) - 1
    # The content is neither shown nor in the archive, which names no such file either.
    assert "hunter" not in done.stdout + done.stderr
    assert packed(found["template"][1]) == {"requirements.txt": "django\n"}
    settings = packed(found["overlay"][1])["rootstock_settings.py"]
    assert settings.endswith("\n\nDEBUG = False\n")
    assert '_import_module("shop.settings")' in settings


# --- What is said, and what the programs become: the role's expressions.


def value(expression: str, **variables: Any) -> str:
    """Return one of the role's expressions with these variables."""
    given = {
        **DEFAULTS,
        "django_app_source": "/srv/shop",
        "django_app_wsgi_module": "shop.wsgi",
        "django_app_domain": "shop.example.org",
        "django_app_configuration_id": "c1",
        "django_app_release_id": "r1",
        "ansible_inventory_sources": ["hosts.yml"],
        **variables,
    }
    return str(
        evaluate(f"{{{{ {expression} | default('', true) }}}}", variables_of("django_app") | trusted(given))
    )


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("/home/me/shop", "path"),
        ("https://example.org/me/shop.git", "git"),
        ("ssh://git@example.org:2222/me/shop.git", "git"),
        ("git@example.org:me/shop.git", "git"),
        ("file:///srv/git/shop", "git"),
        ("shop==1.2.3", "package"),
        ("my-shop[web,mail]==1.2.3.post1", "package"),
        ("shop", ""),
        ("./shop", ""),
        ("~/shop", ""),
        ("shop>=1.2", ""),
        ("shop==1.*", ""),
        ("http://example.org/me/shop.git", ""),
        ("git@example.org:me/shop.git extra", ""),
    ],
)
def test_kinds_of_sources(source: str, kind: str) -> None:
    assert value("__django_app_source_kind", django_app_source=source) == kind
    problems = value("__django_app_identify_problems", django_app_source=source).strip()
    assert problems.startswith("" if kind else f"django_app_source is '{source}': name a directory")
    assert bool(problems) == (not kind)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"django_app_source": "https://me:hunter2@example.org/a"}, "django_app_source carries a password"),
        ({"django_app_source": "https://hunter2@example.org/a"}, "django_app_source carries a password"),
        ({"django_app_source": "ssh://me:hunter2@example.org/a"}, "django_app_source carries a password"),
        ({"django_app_source": "file:///a", "django_app_source_ref": ""}, "django_app_source_ref is ''"),
        ({"django_app_source": "file:///a", "django_app_source_ref": "-x"}, "django_app_source_ref is '-x'"),
        (
            {"django_app_source_key": "/nowhere/key"},
            "django_app_source_key is '/nowhere/key', which is no file",
        ),
        ({"django_app_source_directory": "../a"}, "django_app_source_directory is '../a'"),
        ({"django_app_source_directory": "/a"}, "django_app_source_directory is '/a'"),
        (
            {"django_app_source": "a==1", "django_app_requirements_file": "a.txt"},
            "django_app_requirements_file is 'a.txt', but a package",
        ),
        ({"django_app_requirements_file": "../a.txt"}, "django_app_requirements_file is '../a.txt'"),
        ({"django_app_extra_requirements": ["a==1", "-r b"]}, "django_app_extra_requirements has '-r b'"),
        ({"django_app_extra_requirements": ["a==1\nb==1"]}, "django_app_extra_requirements has 'a==1 b==1'"),
        ({"django_app_media_dir": "a/"}, "django_app_media_dir is 'a/'"),
    ],
)
def test_what_cannot_work_is_named_once(variables: dict[str, Any], message: str) -> None:
    problems = value("__django_app_identify_problems", **variables)
    assert problems.strip().startswith(message)
    # What goes on is indented, so that preflight can tell one problem from the next.
    assert len(re.findall(r"^\S", problems.strip(), re.MULTILINE)) == 1
    assert "hunter2" not in problems


@pytest.mark.parametrize(
    "variables",
    [
        {"django_app_source_directory": "back-end/shop"},
        {"django_app_requirements_file": "requirements/production.txt"},
        {
            "django_app_extra_requirements": [
                "gunicorn==27.0.1",
                "psycopg[binary]==3.3.9 ; python_version > '3'",
            ]
        },
        {"django_app_media_dir": "shop/media"},
        {"django_app_source": "ssh://git@example.org/a", "django_app_source_ref": "release/1.0+x"},
    ],
)
def test_what_can_work_is_not_refused(variables: dict[str, Any]) -> None:
    assert value("__django_app_identify_problems", **variables).strip() == ""


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, ""),
        (
            {"django_app_wsgi_module": ""},
            "django_app_wsgi_module is empty, and django_app_asgi_module as well",
        ),
        ({"django_app_asgi_module": "shop.asgi"}, "django_app_asgi_module is 'shop.asgi' beside"),
        ({"django_app_wsgi_module": "", "django_app_asgi_module": "shop.asgi:app"}, ""),
        ({"django_app_wsgi_module": "shop.wsgi:"}, "django_app_wsgi_module is 'shop.wsgi:': name the module"),
        (
            {"django_app_wsgi_module": "shop/wsgi.py"},
            "django_app_wsgi_module is 'shop/wsgi.py': name the module",
        ),
        ({"django_app_wsgi_module": "", "django_app_web_enabled": False}, ""),
        ({"django_app_commands": ["loaddata 'a b' --app x", "sync"]}, ""),
        ({"django_app_commands": ["manage.py sync"]}, "django_app_commands has 'manage.py sync'"),
        (
            {"django_app_commands": ["python manage.py sync"]},
            "django_app_commands has 'python manage.py sync'",
        ),
        ({"django_app_commands": [""]}, "django_app_commands has ''"),
        ({"django_app_commands": ["a\nb"]}, "django_app_commands has 'a b'"),
    ],
)
def test_what_the_programs_cannot_be_made_of(variables: dict[str, Any], message: str) -> None:
    problems = value("__django_app_problems", **variables).strip()
    assert problems.startswith(message)
    assert bool(problems) == bool(message)


# As Git 2.39 and OpenSSH 9.2 say it.
@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ("Host key verification failed. fatal: Could not read from remote repository.", "accept it"),
        (
            "git@example.org: Permission denied (publickey). fatal: Could not read from remote repository."
            " Please make sure you have the correct access rights and the repository exists.",
            "The server refuses app_source_key (/keys/shop)",
        ),
        ("fatal: could not read Username for 'https://example.org': terminal prompts disabled", "~/.netrc"),
        (
            "ssh: Could not resolve hostname gone.example: Name or service not known",
            "check the name in app_source",
        ),
        ("fatal: unable to access 'https://a/': Could not resolve host: a", "check the name in app_source"),
        ("ssh: connect to host a port 22: Connection refused", "check the name in app_source"),
        ("remote: Repository not found. fatal: repository 'https://a/' not found", "There is no repository"),
        ("fatal: '/a' does not appear to be a git repository", "There is no repository"),
        ("fatal: repository '/nowhere' does not exist", "There is no repository"),
        ('Failed to find required executable "git" in paths: /bin', "This controller has no Git"),
        ("fatal: Unable to create '/a/.git/index.lock': File exists. Failed to checkout main", "was killed"),
        ("fatal: destination path '/a' already exists and is not an empty directory.", "was killed"),
        ("Failed to checkout branch main", "'main' (app_source_ref) is not in it"),
        ("fatal: bad config line 1", "if that is damaged"),
    ],
)
def test_what_git_says_is_explained(words: str, fix: str) -> None:
    message = value(
        "__django_app_git_problem",
        __django_app_git={"msg": words, "failed": True},
        django_app_source="git@example.org:me/shop.git",
        django_app_source_key="/keys/shop",
    )
    explanation = message.partition("Git says: ")[0]
    assert fix in " ".join(explanation.split())
    assert "(app_source)" in explanation
    assert message.endswith(words)


def test_wsgi_has_threads_and_asgi_has_a_worker_of_its_own() -> None:
    wsgi = value("__django_app_gunicorn").split()
    assert wsgi[wsgi.index("--threads") + 1] == "4"
    assert wsgi[-1] == "shop.wsgi:application"
    asgi = value(
        "__django_app_gunicorn", django_app_wsgi_module="", django_app_asgi_module="shop.asgi:app"
    ).split()
    assert asgi[asgi.index("--worker-class") + 1] == "uvicorn_worker.UvicornWorker"
    assert asgi[asgi.index("--forwarded-allow-ips") + 1] == "*"
    assert asgi[-1] == "shop.asgi:app"
    assert "--threads" not in asgi
    assert "--graceful-timeout" in asgi
