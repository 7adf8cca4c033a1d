"""playbooks/preflight.yml as a user runs it, and what holds for all of its rules."""

import json
import os
import re
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from rootstock_preflight import report, server_facts
from rootstock_preflight.credentials import is_example
from rootstock_preflight.problems import RULES, Problem
from rootstock_preflight.values import faults

from preflight_inventories import GROUPS, Draft, fleet, host, inventory_of, known, problems, secrets
from repository import PROJECT

PAGE = PROJECT / "docs/preflight.md"
# Of this machine, whatever it is: nothing that it lacks is asked for.
LOCAL = {
    "ansible_connection": "local",
    "ansible_become": False,
    "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    "preflight_waived": ["disk", "distribution"],
}


def play(inventory: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the playbook."""
    command: list[str | Path] = [PROJECT / ".venv/bin/ansible-playbook", "-i", inventory, *options]
    return subprocess.run(
        [*command, "playbooks/preflight.yml"],
        cwd=PROJECT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def refusals(draft: Draft, directory: Path) -> list[Problem]:
    """Return the problems of an inventory that is written below a directory."""
    return problems(draft.write(directory / "production"))


# --- Through ansible-playbook.


def test_a_good_inventory_passes_without_a_connection(tmp_path: Path) -> None:
    done = play(Draft().write(tmp_path / "inventory"), "--skip-tags=servers")
    assert done.returncode == 0, done.stdout + done.stderr


def test_three_mistakes_are_told_at_once_and_no_secret_is(tmp_path: Path) -> None:
    draft = Draft().with_(
        app_domian="shop.example.net",
        app_environment={"A B": "{{ vault_redis_password }}"},
        celery_worker_pools=[{"name": "default", "queues": ["default"], "drain": 700}],
    )
    done = play(draft.write(tmp_path / "inventory"), "-vvv")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Preflight found 3 problems in this inventory. No host was touched." in done.stdout
    for number, variable in enumerate(("app_domian", "app_environment", "celery_worker_pools"), 1):
        assert re.search(
            rf"^ *{number}\. {variable} of one \(group_vars/all/main\.yml:\d+\)$", done.stdout, re.M
        )
    assert "Preflight of the servers" not in done.stdout
    for name, secret in secrets("shop").items():
        assert secret not in done.stdout + done.stderr, name


def test_a_wrong_vault_password_fails_before_anything(tmp_path: Path) -> None:
    inventory = Draft().write(tmp_path / "inventory")
    vault = inventory / "group_vars/all/vault.yml"
    vault.write_text(yaml.safe_dump(secrets("shop")))
    for name in ("right", "wrong"):
        (tmp_path / name).write_text(f"{name}\n")
    command: list[str | Path] = [
        PROJECT / ".venv/bin/ansible-vault",
        "encrypt",
        "--encrypt-vault-id=default",
        vault,
    ]
    environment = os.environ | {"ANSIBLE_VAULT_PASSWORD_FILE": str(tmp_path / "right")}
    subprocess.run(command, env=environment, cwd=PROJECT, check=True, capture_output=True)
    done = play(inventory, ANSIBLE_VAULT_PASSWORD_FILE=str(tmp_path / "wrong"))
    assert done.returncode != 0
    assert "Decryption failed" in done.stdout + done.stderr
    assert "TASK" not in done.stdout
    # With the right one nothing else is wrong.
    done = play(inventory, "--skip-tags=servers", ANSIBLE_VAULT_PASSWORD_FILE=str(tmp_path / "right"))
    assert done.returncode == 0, done.stdout + done.stderr


def processor_time(inventory: Path) -> float:
    """Return the seconds of the processor that a run takes, whatever else runs on this machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = play(inventory, "--skip-tags=servers")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_fifty_hosts_cost_little_more_than_a_small_fleet(tmp_path: Path) -> None:
    draft = fleet()
    small = processor_time(draft.write(tmp_path / "small"))
    workers, web = ([f"{kind}{number}" for number in range(3, 26)] for kind in ("work", "web"))
    for number, name in enumerate([*workers, *web], 30):
        draft.hosts[name] = {"ansible_host": f"192.0.2.{number}"}
    draft = draft.with_groups(web=["web1", "web2", *web], workers=["work1", *workers])
    assert len(draft.hosts) == 50
    # Measured: 1.4 to 2.3 times. Tables of all hosts that each host worked out anew made it 2.9 to 3.5 times.
    assert processor_time(draft.write(tmp_path / "large")) < 2.7 * small


@pytest.mark.parametrize("options", [(), ("--check", "--limit=one")])
def test_servers_are_asked_and_told_at_once(options: tuple[str, ...], tmp_path: Path) -> None:
    pools = [{"name": "default", "queues": ["default"], "concurrency": 10000}]
    draft = Draft().with_(celery_worker_pools=pools).with_host("one", **LOCAL)
    draft = draft.with_host("two", **LOCAL, ansible_host="192.0.2.2")
    both = {group: ["one", "two"] for group in GROUPS}
    done = play(draft.with_groups(**both).write(tmp_path / "inventory"), *options)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Preflight found 1 problem in these servers. Nothing was changed on any." in done.stdout
    asked = "one" if options else "one, two"
    assert f"1. celery_worker_pools of {asked} (" in done.stdout
    assert "fix:   lower concurrency" in done.stdout


def test_servers_that_carry_it_pass(tmp_path: Path) -> None:
    draft = Draft().with_host("one", **LOCAL | {"preflight_waived": ["disk", "distribution", "memory"]})
    done = play(draft.write(tmp_path / "inventory"))
    assert done.returncode == 0, done.stdout + done.stderr


# --- What a message says.


def test_every_missing_or_empty_group_is_named(tmp_path: Path) -> None:
    draft = Draft().with_groups(redis=None, postgresql=None, web=None, flower=None, workers=[], beat=[])
    says = " ".join(problem.says for problem in refusals(draft, tmp_path))
    for group in ("redis", "postgresql", "web", "flower"):
        assert f"The inventory's group {group} is missing." in says
    for group in ("workers", "beat"):
        assert f"The inventory's group {group} is empty." in says


def test_the_right_name_of_a_misspelt_one_is_given(tmp_path: Path) -> None:
    (found,) = refusals(Draft().with_(app_domian="shop.example.net"), tmp_path)
    assert (found.says, found.fix) == ("Nothing reads app_domian.", "did you mean app_domain?")


def test_a_wired_name_is_refused_with_those_that_feed_it(tmp_path: Path) -> None:
    draft = Draft().with_(nginx_server_names=["a.example.net"], celery_workers_enabled=False)
    fixes = {problem.variable: problem.fix for problem in refusals(draft, tmp_path)}
    assert fixes == {
        "nginx_server_names": "set app_domain or app_extra_domains instead",
        "celery_workers_enabled": "leave it out, and change the groups",
    }


def test_all_missing_secrets_are_named_with_the_way_to_make_them(tmp_path: Path) -> None:
    found = refusals(Draft().with_(vault_redis_password=None, vault_flower_password=""), tmp_path)
    assert {problem.variable for problem in found} == {"vault_redis_password", "vault_flower_password"}
    for problem in found:
        assert f"The secret {problem.variable} is not set." in problem.says
        assert problem.fix == "make secrets INVENTORY=production"


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_or_empty_description_of_the_app_is_named(value: str | None, tmp_path: Path) -> None:
    (found,) = refusals(Draft().with_(app_wsgi_module=value), tmp_path)
    assert "app_wsgi_module is not set" in found.says


def test_a_redis_without_a_beat_is_refused(tmp_path: Path) -> None:
    draft = Draft().with_host("two", ansible_host="192.0.2.2")
    both = ["one", "two"]
    (found,) = refusals(draft.with_groups(redis=both, postgresql=both, web=both, workers=both), tmp_path)
    assert "Exactly one beat belongs to each" in found.says


def test_every_problem_of_a_role_is_named(tmp_path: Path) -> None:
    pools = [{"name": "a", "queues": [], "drain": 700}, {"name": "b", "queues": ["q"], "concurrency": 0}]
    says = [problem.says for problem in refusals(Draft().with_(celery_worker_pools=pools), tmp_path)]
    assert len(says) == 3
    for part in ("pool a: queues is empty", "pool a: drain is 700", "pool b: concurrency is 0"):
        assert any(part in text for text in says)


def test_an_encrypted_value_that_cannot_be_read_is_named_with_its_line(tmp_path: Path) -> None:
    inventory = Draft().with_(vault_redis_password=None).write(tmp_path / "inventory")
    text = "---\nvault_redis_password: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n"
    (inventory / "group_vars/all/vault.yml").write_text(text)
    (found,) = problems(inventory)
    assert (found.rule, found.variable) == ("template", "vault_redis_password")
    assert found.where.startswith("group_vars/all/vault.yml:")


def test_an_entry_says_hosts_place_value_rule_and_mend() -> None:
    hosts = tuple(f"web{number}" for number in range(50))
    problem = Problem("ports", "flower_port", hosts, "It is taken.", "take another", "80", "hosts.yml:3")
    assert report.entry(2, problem).splitlines() == [
        "2. flower_port of web0, web1 and 48 more (hosts.yml:3)",
        "   value: 80",
        "   rule:  It is taken. [ports]",
        "   fix:   take another",
    ]


def test_secrets_are_masked_wherever_they_are() -> None:
    secret = "p/w of the broker"
    url = "redis://:of-the-url@redis.example.net/0"
    one = host(vault_redis_password=secret, app_broker_url=url, app_secret_environment={"KEY": "of-the-user"})
    inventory = inventory_of([one])
    says = f"{secret} p%2Fw%20of%20the%20broker {url} of-the-user https://me:token-abc@git.example.net"
    text = report.text_of([Problem("ports", "x", ("one",), says, "y")], "z", "", inventory)
    for part in ("p/w", "p%2Fw", "of-the-url", "of-the-user", "token-abc"):
        assert part not in text
    assert "https://***@git.example.net" in text
    assert inventory.problem("ports", "vault_redis_password", [one], "", "").value == "(not shown)"


@pytest.mark.parametrize(
    "value", ["change_me", "ChangeMe-now", "xxxxxxxxxxxxxxxx", "<secret>", "to-do", "password123"]
)
def test_example_values_are_known(value: str) -> None:
    assert is_example(value)


def test_no_generated_secret_is_an_example() -> None:
    for index in range(2000):
        assert not any(is_example(secret) for secret in secrets(str(index)).values())


# --- What the rules are made of.


def test_the_page_has_every_rule() -> None:
    listed = dict(re.findall(r"^\| `([a-z_-]+)` \| (.+) \|$", PAGE.read_text(), re.M))
    assert listed == RULES


def test_the_described_names_are_those_that_something_reads() -> None:
    described = set(yaml.safe_load((PROJECT / "playbooks/variables.yml").read_text())["options"])
    readers = ("playbooks/group_vars/all/wiring.yml", "playbooks/release.yml")
    text = "".join((PROJECT / path).read_text() for path in readers)
    read = set(re.findall(r"(?<!\w)(?:app|vault)_\w+", text))
    assert described == read | {"preflight_waived"}


def test_the_catalogue_knows_every_prefix_and_no_wired_name_is_settable() -> None:
    assert {"app_", "vault_", "stack_", "preflight_", "celery_", "nginx_", "django_app_"} <= set(
        known().prefixes
    )
    assert set(known().options) & set(known().wired) == set()
    assert {"celery_worker_pools", "redis_maxmemory", "app_name", "generation_strategy"} <= set(
        known().options
    )
    assert known().wired["redis_password"] == ("vault_redis_password",)


@pytest.mark.parametrize(
    ("value", "option", "path"),
    [
        (True, {"type": "int"}, "v"),
        ("4 GB", {"type": "int"}, "v"),
        ("true", {"type": "bool"}, "v"),
        (1.1, {"type": "str"}, "v"),
        (None, {"type": "str"}, "v"),
        ("a", {"type": "list", "elements": "str"}, "v"),
        (["a", 1], {"type": "list", "elements": "str"}, "v[1]"),
        (["a", "b"], {"type": "list", "elements": "str", "choices": ["a"]}, "v[1]"),
        ([{"a": 1}], {"type": "list", "elements": "dict", "options": {"a": {"type": "str"}}}, "v[0].a"),
        ({"nane": 1}, {"type": "dict", "options": {"name": {"type": "str", "required": True}}}, "v.nane"),
        ({}, {"type": "dict", "options": {"a": {"type": "str", "required": True}}}, "v.a"),
    ],
)
def test_a_fault_has_the_path_of_what_is_wrong(value: Any, option: dict[str, Any], path: str) -> None:
    assert [fault.path for fault in faults(value, option, "v")] == [path]


def test_the_script_tells_what_a_server_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for directory in ("proc", "etc", "sys/fs/cgroup", "var/lib/redis/appendonlydir"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:        4028000 kB\nMemFree: 1 kB\n")
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\nNAME="Debian"\n')
    (tmp_path / "var/lib/redis/appendonlydir/a.aof").write_bytes(os.urandom(64 * 1024))
    limit = tmp_path / "sys/fs/cgroup/memory.max"
    found = []
    for text in ("max", str(1 << 30)):
        limit.write_text(text)
        server_facts.main(tmp_path)
        found.append(json.loads(capsys.readouterr().out))
    assert [facts["memory_kib"] for facts in found] == [4028000, 1 << 20]
    # /srv is not there yet: its parent's file system is what it will be on.
    assert set(found[0]["disk_kib"]) == {"/srv", "/var/lib"}
    assert min(found[0]["disk_kib"].values()) > 0
    assert 64 <= found[0]["redis_kib"] < 256
    assert (found[0]["id"], found[0]["version"]) == ("debian", "12")
    assert len(found[0]["python"]) == 3
