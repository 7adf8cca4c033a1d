"""The servers work together."""

import json
from pathlib import Path

import releases
from generations import release
from interruption import Playbooks
from prober import Prober
from stack import PROJECT, Stack, ansible, ansible_vault, wait_for
from traffic import QUEUES, Producer

WORKERS = {"worker12", "worker13"}
VAULT = PROJECT / "molecule/fleet/inventory/group_vars/all/vault.yml"


def test_an_order_is_paid_by_a_worker_elsewhere(stack: Stack) -> None:
    order = {"product": "mug", "email": "buyer@example.org", "payment_token": "tok_visa", "count": 5}
    answer = stack.session().post(stack.url("/api/orders"), json=order, timeout=30)
    assert answer.status_code == 201, answer.text
    batch = f"/api/orders?batch={answer.json()['batch']}"
    wait_for(lambda: stack.get(batch).json()["final"], 60, "the orders are final")
    assert {each["status"] for each in stack.get(batch).json()["orders"]} == {"paid"}


def test_every_worker_takes_tasks_of_every_queue(stack: Stack) -> None:
    for queue in QUEUES:
        code = (
            "from shop.celery import app\n"
            "whoami = app.signature('diagnostics.tasks.whoami', queue=arguments['queue'])\n"
            "sent = [whoami.delay() for _ in range(60)]\n"
            "print(json.dumps([each.get(timeout=60)['hostname'] for each in sent]))"
        )
        nodes = {name.split("@")[1] for name in stack.python(code, {"queue": queue})}
        assert nodes == WORKERS, queue


def test_flower_sees_every_worker(stack: Stack) -> None:
    login = ("flower", ansible_vault(VAULT)["vault_flower_password"])

    def online() -> set[str]:
        workers = stack.get("/flower/api/workers?status=true", auth=login).json()
        return {name.split("@")[1] for name, is_online in workers.items() if is_online}

    wait_for(lambda: online() == WORKERS, 30, "both are online")


def test_status_tells_of_every_server(inventory: str, tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    done = ansible("-e", f"status_file={file}", inventory=inventory, playbook="status", check=False)
    assert done.returncode == 0, done.stdout
    (app,) = json.loads(file.read_text())["apps"]
    assert {host["name"] for host in app["hosts"]} == {"data12", "edge12", "web12", "web13", *WORKERS}
    assert next(host for host in app["hosts"] if host["name"] == "edge12")["edge"] == "ok"
    # All hosts tell of the same broker.
    (broker,) = app["brokers"]
    assert {queue["name"]: queue["consumers"] for queue in broker["queues"]} == dict.fromkeys(QUEUES, 2)


def test_a_deploy_and_a_rollback_of_all_servers_go_unnoticed(
    stack: Stack, play: Playbooks, tmp_path: Path
) -> None:
    before = release(stack)
    source = releases.good_migration(tmp_path, "fleet")
    with Prober(stack) as prober, Producer(stack) as producer:
        wait_for(lambda: prober.result().sent > 100, 60, "requests are sent")
        play.run("deploy", {"app_source": str(source)})
        assert release(stack) != before
        run = play.run("rollback")
        assert release(stack) == before
        wait_for(lambda: prober.result(since=run.ended).sent > 100, 60, "requests are sent")
    account, seen = producer.account(), prober.result()
    assert not seen.failures, seen
    assert account.complete, account
