"""The servers of the scenario `fleet`."""

import testinfra
from testinfra.host import Host


def server(name: str) -> Host:
    """A server, asked over the engine's own connection: what is seen does not hang on what is tested."""
    return testinfra.get_host(f"docker://{name}")
