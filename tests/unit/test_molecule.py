"""Every Molecule scenario runs on the same kind of server, though YAML cannot share it between files."""

from typing import Any

import pytest

from repository import PROJECT, load

BASE = load(PROJECT / ".config/molecule/config.yml")
# What a scenario says itself: names and groups, how they reach each other, whether one that ends comes back.
OWN_KEYS = {"name", "groups", "networks", "docker_networks", "restart_policy"}
OWN = [path for path in sorted(PROJECT.glob("molecule/*/molecule.yml")) if load(path).get("platforms")]


def kinds(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The platforms without what is a scenario's own."""
    return [
        {key: value for key, value in server.items() if key not in OWN_KEYS} for server in config["platforms"]
    ]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.parent.name)
def test_the_servers_of_a_scenario_are_those_of_the_base_configuration(path: Any) -> None:
    own = kinds(load(path))
    assert [server for server in own if server not in kinds(BASE)] == []
