"""plugins/filter/serving_nodes.py tells which host of a group serves each host."""

from repository import source_module

serving_nodes = source_module("plugins/filter/serving_nodes.py").serving_nodes

# Two applications on one server, and a server with workers only.
SERVERS = {"shop": "10.0.0.1", "blog": "10.0.0.1", "worker": "10.0.0.2"}


def test_the_first_of_the_group_serves_who_has_none() -> None:
    assert serving_nodes(SERVERS, ["worker", "shop"]) == {"shop": "shop", "blog": "shop", "worker": "worker"}
    assert serving_nodes(SERVERS, ["shop"]) == {"shop": "shop", "blog": "shop", "worker": "shop"}


def test_one_application_uses_the_store_that_the_other_brought_to_their_server() -> None:
    assert serving_nodes(SERVERS, ["worker", "blog"])["shop"] == "blog"


def test_without_a_group_nobody_serves() -> None:
    assert serving_nodes(SERVERS, []) == {"shop": "", "blog": "", "worker": ""}
