"""Flower from another host: no way round its password, no guesses, no forged requests."""

import pytest

from attacker import attack
from stack import DOMAIN, Stack

EVIL = "https://evil.test"


def test_no_spelling_of_its_address_gets_round_the_password(stack: Stack) -> None:
    home = stack.get("/").text.split("<title>")[1].split("</title>")[0].strip()
    found = attack("paths", address=stack.address, domain=DOMAIN)
    assert len(found) >= 300
    assert {each["status"] for each in found} >= {400, 401, 404}
    # An address that leads out of Flower's leads to the shop.
    assert [each for each in found if each["status"] == 200 and each["title"] != home] == []
    assert [each for each in found if each["status"] >= 500] == []


def test_guesses_are_slowed_down_for_who_guesses(stack: Stack, flower_login: tuple[str, str]) -> None:
    tries = attack("guesses", address=stack.address, domain=DOMAIN, tries=40)
    assert len(tries) == 40
    assert set(tries) == {401, 429}
    assert tries.count(401) <= 10
    # From another address nothing is noticed, not even by who mistypes.
    assert stack.get("/flower/", auth=(flower_login[0], "mistyped")).status_code == 401
    assert stack.get("/flower/", auth=flower_login).status_code == 200


@pytest.fixture(scope="module")
def changing(stack: Stack) -> list[str]:
    """The addresses at which Flower changes something, by its own list."""
    code = (
        "from flower.urls import handlers\n"
        "pairs = [e[:2] if isinstance(e, tuple) else (e.regex.pattern, e.handler_class) for e in handlers]\n"
        "print(json.dumps([path for path, handler in pairs if 'post' in vars(handler)]))"
    )
    patterns: list[str] = stack.python(code)
    return patterns


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EVIL},
        {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": f"https://{DOMAIN}.evil.test"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_no_page_of_another_site_changes_anything(
    stack: Stack, flower_login: tuple[str, str], changing: list[str], headers: dict[str, str]
) -> None:
    assert len(changing) >= 12
    # The last one is for all addresses that Flower does not have.
    for pattern in changing[:-1]:
        path = "/flower" + pattern.replace("(.+)", "x").replace("(?P<", "x")
        answer = stack.session().post(stack.url(path), auth=flower_login, headers=headers, timeout=30)
        assert (answer.status_code, "nginx" in answer.text) == (403, True), path
