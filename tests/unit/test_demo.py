"""The demo's own logic: container settings, the port, and what it says of a failure."""

import socket
from itertools import pairwise

import demo
import pytest

OUTPUT = """
PLAY [Data store Redis] ********************************************************

TASK [redis : Install | Packages] **********************************************
[ERROR]: Task failed: Module failed: Failed to update apt cache after 5 retries
Origin: roles/redis/tasks/install.yml:2:3

fatal: [demo]: FAILED! =>
    changed: false
    msg: 'Failed to update apt cache after 5 retries: Temporary failure resolving ''mirror'''

PLAY RECAP *********************************************************************
demo                       : ok=3    changed=0    unreachable=0    failed=1
"""


@pytest.mark.parametrize("value", ["", "0", "65536", "-1", "80a", "8443 "])
def test_a_value_that_is_no_port_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_PORT", value)
    if value == "":
        assert demo.wanted_port() == demo.DEFAULT_PORT
        return
    with pytest.raises(demo.DemoError, match="DEMO_PORT is"):
        demo.wanted_port()


def test_a_taken_port_is_named_with_its_holder_and_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "docker_holder", lambda port: "")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(
            demo.DemoError, match=rf"port {port} on 127.0.0.1 is taken by .+DEMO_PORT=\d+ make"
        ):
            demo.check_port_is_free(port)


def test_the_container_has_the_settings_of_the_test_servers() -> None:
    arguments = demo.run_arguments(demo.platform(), "server", "--publish", "127.0.0.1:8443:443")
    pairs = list(pairwise(arguments))
    settings = demo.platform()
    for option, key in (("--cap-add", "capabilities"), ("--volume", "volumes"), ("--tmpfs", "tmpfs")):
        assert [value for name, value in pairs if name == option] == settings[key]
    assert ("--publish", "127.0.0.1:8443:443") in pairs
    assert ("--name", "server") in pairs
    assert "--privileged" not in arguments
    assert arguments[-2:] == [settings["image"], settings["command"]]


def test_the_volumes_are_those_with_downloads() -> None:
    assert demo.cache_volumes() == ["rootstock-apt-bookworm", "rootstock-apt-trixie", "rootstock-uv"]


def test_a_failure_is_told_with_its_task() -> None:
    other = OUTPUT.replace("Temporary failure resolving", "Package not known").replace(
        "update apt cache", "install"
    )
    message = demo.failure_message(other)
    assert message.startswith("task 'redis : Install | Packages': Failed to install")
    assert "PLAY RECAP" not in message
    assert "changed: false" not in message


@pytest.mark.parametrize(
    "words", ["Temporary failure resolving", "Failed to update apt cache after 5 retries"]
)
def test_a_cut_network_is_told_in_one_line(words: str) -> None:
    message = demo.failure_message(OUTPUT.replace("Temporary failure resolving", words))
    assert message.startswith("The Debian mirror cannot be reached")
    assert message.endswith("needed by task 'redis : Install | Packages'.")
    assert "\n" not in message
