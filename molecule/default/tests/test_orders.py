"""The application does real work: orders through Nginx, paid by workers, also while the gateway fails."""

from typing import Any

import pytest

from stack import Stack, wait_for

QUEUES = ("critical", "default", "low-priority")


def place(stack: Stack, count: int) -> str:
    """Places orders through the JSON API; returns the address of their batch."""
    order = {"product": "mug", "email": "buyer@example.org", "payment_token": "tok_visa", "count": count}
    answer = stack.session().post(stack.url("/api/orders"), json=order, timeout=30)
    assert answer.status_code == 201, answer.text
    return f"/api/orders?batch={answer.json()['batch']}"


def sandbox(stack: Stack, method: str, path: str, body: Any = None) -> Any:
    """Speaks to the payment gateway's administration, which listens on the server's loopback only."""
    return stack.python(
        "import requests\n"
        "answer = requests.request(arguments['method'], 'http://127.0.0.1:8900/admin/' + arguments['path'],\n"
        "                          json=arguments['body'], timeout=10)\n"
        "answer.raise_for_status()\n"
        "print(json.dumps(answer.json()))",
        {"method": method, "path": path, "body": body},
    )


@pytest.fixture
def gateway_in_trouble(stack: Stack):
    """Every third call of the gateway fails, half of these after it has charged."""
    sandbox(
        stack,
        "PUT",
        "faults",
        [
            {"target": "charge", "kind": "timeout_after", "share": 0.04, "seconds": 5.5},
            {"target": "charge", "kind": "error_after", "share": 0.15},
            {"target": "charge", "kind": "error", "share": 0.1},
            {"target": "charge", "kind": "decline", "share": 0.1},
            {"target": "find", "kind": "error", "share": 0.1},
        ],
    )
    yield
    sandbox(stack, "DELETE", "faults")


def test_an_order_is_paid_by_a_worker_and_its_result_is_in_database_2(stack: Stack) -> None:
    batch = place(stack, 1)
    order = wait_for(
        lambda: stack.get(batch).json()["final"] and stack.get(batch).json(), 30, "the order is final"
    )
    assert order["orders"][0]["status"] == "paid"
    found = stack.redis(
        "assert server.connection_pool.connection_kwargs['db'] == 2\n"
        "bodies = [json.loads(server.get(key)) for key in server.scan_iter('celery-task-meta-*')]\n"
        "print(json.dumps([body['result'] for body in bodies]))",
        url_variable="CELERY_RESULT_BACKEND",
    )
    assert "paid" in found


def test_an_order_is_placed_with_the_form(stack: Stack) -> None:
    session = stack.session()
    page = session.get(stack.url("/"), timeout=30)
    token = page.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    form = {
        "csrfmiddlewaretoken": token,
        "product": "beans",
        "email": "buyer@example.org",
        "payment_token": "tok_visa",
        "count": "1",
    }
    headers = {"Referer": "https://localhost/", "Origin": "https://localhost"}
    answer = session.post(stack.url("/"), data=form, headers=headers, timeout=30, allow_redirects=False)
    assert answer.status_code == 302, answer.text
    wait_for(
        lambda: "Paid" in session.get(stack.url(answer.headers["Location"]), timeout=30).text,
        30,
        "the page says paid",
    )


def test_200_orders_with_a_gateway_in_trouble_are_charged_exactly_once(
    stack: Stack, gateway_in_trouble: None
) -> None:
    sandbox(stack, "DELETE", "ledger")
    batches = [place(stack, 50) for _ in range(4)]

    def all_final() -> bool:
        return all(stack.get(batch).json()["final"] for batch in batches)

    wait_for(all_final, 240, "200 orders are final")
    orders = [order for batch in batches for order in stack.get(batch).json()["orders"]]
    assert len(orders) == 200
    paid = sorted(order["id"] for order in orders if order["status"] == "paid")
    assert {order["status"] for order in orders} == {"paid", "declined"}
    assert sandbox(stack, "GET", "faults")["injected"] > 20
    payments = sandbox(stack, "GET", "ledger")["payments"]
    assert sorted(p["reference"] for p in payments if p["status"] == "succeeded") == paid


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (
            {"product": "moon", "email": "a@example.org", "payment_token": "tok_visa", "count": 1},
            422,
            "product",
        ),
        ({"product": "mug", "email": "nobody", "payment_token": "tok_visa", "count": 1}, 422, "email"),
        ({"product": "mug", "email": "a@example.org", "payment_token": "tok_visa", "count": 0}, 422, "count"),
        ([], 400, "__all__"),
    ],
)
def test_a_bad_order_is_refused_with_the_field_and_leaves_nothing(
    stack: Stack, body: Any, status: int, field: str
) -> None:
    count = "from orders.models import Order\nprint(json.dumps(Order.objects.count()))"
    before = stack.python(count)
    answer = stack.session().post(stack.url("/api/orders"), json=body, timeout=30)
    assert (answer.status_code, list(answer.json()["errors"])) == (status, [field])
    assert stack.python(count) == before


def test_the_application_is_ready(stack: Stack) -> None:
    ready = stack.host.check_output(
        'python3 -c \'import http.client, socket; c = http.client.HTTPConnection("localhost");'
        ' c.sock = socket.socket(socket.AF_UNIX); c.sock.connect("/srv/shop/web.sock");'
        ' c.request("GET", "/readyz", headers={"X-Forwarded-Proto": "https"});'
        " print(c.getresponse().status)'"
    )
    assert ready == "200"
