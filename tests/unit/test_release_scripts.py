"""The shell scripts that move an application from one generation to another, on a server that is made up."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from repository import PROJECT
from server import Server, executable

SWITCH = PROJECT / "roles/generation/files/switch-generation"
KEEP = PROJECT / "roles/generation/files/keep-generation"
PRUNE = PROJECT / "roles/django_app/files/prune-releases"
RELEASES = ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc", "dddddddddddd", "eeeeeeeeeeee")


def links(server: Server) -> dict[str, str]:
    """Return what the links lead to that say what is live."""
    paths = ("srv/shop/current", "srv/shop/previous", "srv/shop/web.sock", "etc/shop/app.env")
    found = [server.root / path for path in paths if (server.root / path).is_symlink()]
    return {link.name: str(link.readlink()).removeprefix(str(server.root)) for link in found}


def generation(server: Server) -> str:
    return (server.root / "srv/shop/generation").read_text().strip()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


# --- switch-generation


def switch(server: Server, generation: str, release: str, web: bool = True) -> list[str]:
    socket_file = f"/run/shop/web.{generation}.sock" if web else ""
    return server.run(SWITCH, "shop", generation, release, f"/etc/shop/app.{release}.env", socket_file)


def test_the_first_switch_points_everything_to_the_generation(server: Server) -> None:
    assert len(switch(server, "g1", "r1")) == 3
    assert links(server) == {
        "current": "releases/r1",
        "app.env": "/etc/shop/app.r1.env",
        "web.sock": "/run/shop/web.g1.sock",
    }
    assert generation(server) == "g1"


def test_the_next_switch_remembers_the_release_before(server: Server) -> None:
    switch(server, "g1", "r1")
    switch(server, "g2", "r2")
    assert links(server) == {
        "current": "releases/r2",
        "previous": "releases/r1",
        "app.env": "/etc/shop/app.r2.env",
        "web.sock": "/run/shop/web.g2.sock",
    }


def test_a_switch_that_is_done_again_changes_nothing(server: Server) -> None:
    switch(server, "g1", "r1")
    switch(server, "g2", "r2")
    before = links(server)
    # As after a run that was killed before it wrote the name.
    (server.root / "srv/shop/generation").write_text("g1\n")
    assert switch(server, "g2", "r2") == []
    assert (links(server), generation(server)) == (before, "g2")


def test_another_configuration_of_the_release_keeps_the_way_back(server: Server) -> None:
    switch(server, "g1", "r1")
    switch(server, "g2", "r2")
    assert len(switch(server, "g3", "r2")) == 1
    assert links(server)["previous"] == "releases/r1"


def test_a_host_that_serves_no_more_has_no_socket(server: Server) -> None:
    switch(server, "g1", "r1")
    switch(server, "g2", "r1", web=False)
    assert "web.sock" not in links(server)


# --- keep-generation


@pytest.fixture
def two_generations(server: Server) -> Server:
    """Generations a and b of the application, and an application whose name begins in the same way."""
    for name in ("shop.a", "shop.b", "shopping.a"):
        for directory in ("conf.d", "rootstock"):
            (server.root / f"etc/supervisor/{directory}/{name}.conf").touch()
    single = server.root / "etc/supervisor/conf.d/shop-single.conf"
    single.symlink_to(server.root / "etc/supervisor/rootstock/shop.a.conf")
    return server


def test_one_generation_is_kept_and_the_others_are_gone(two_generations: Server) -> None:
    two_generations.run(KEEP, "shop", "b")
    assert two_generations.names("etc/supervisor/conf.d") == {
        "shop.b.conf",
        "shop-single.conf",
        "shopping.a.conf",
    }
    assert two_generations.names("etc/supervisor/rootstock") == {
        "shop.a.retired",
        "shop.b.conf",
        "shopping.a.conf",
    }
    # The beat of the one that is kept, not of the one that failed.
    assert (two_generations.root / "etc/supervisor/conf.d/shop-single.conf").resolve().name == "shop.b.conf"
    assert two_generations.calls == ["apply shop.b shop-single"]


def test_a_first_generation_that_failed_leaves_nothing(two_generations: Server) -> None:
    two_generations.run(KEEP, "shop", "")
    assert two_generations.names("etc/supervisor/conf.d") == {"shopping.a.conf"}
    assert two_generations.calls == ["apply "]


@pytest.fixture
def web_socket(two_generations: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The socket of generation a."""
    # A socket's path must be short.
    monkeypatch.chdir(two_generations.root / "run/shop")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("web.a.sock")
        yield two_generations.root / "run/shop/web.a.sock"


def test_requests_that_wait_at_the_old_socket_are_answered_first(
    two_generations: Server, web_socket: Path
) -> None:
    root = two_generations.root
    # Two wait, then one, then none.
    (root / "waiting").write_text("2 1 0")
    executable(
        root / "bin/ss",
        f"""echo "ss $3 $4" >>{root}/calls
read -r now later <{root}/waiting
echo "$later" >{root}/waiting
echo "u_str LISTEN $now 64 {web_socket} 1 * 0" """,
    )
    two_generations.run(KEEP, "shop", "b")
    asked = f"ss {web_socket} "
    assert two_generations.calls == [asked, asked, asked, "apply shop.b shop-single"]


# --- prune-releases


@pytest.fixture
def old_releases(server: Server) -> Server:
    """Five releases, the first the oldest, each with an environment, a configuration and a log of its own."""
    for age, release in enumerate(RELEASES):
        directory = server.root / "srv/shop/releases" / release
        directory.mkdir()
        (directory / ".complete").touch()
        os.utime(directory / ".complete", (1000 + age, 1000 + age))
        (server.root / f"srv/shop/environments/env-{release}").mkdir()
        (directory / ".venv").symlink_to(f"../../environments/env-{release}")
        (server.root / f"etc/shop/app.{release}.env").touch()
        log = server.root / f"var/log/shop/shop-web.{release[:8]}.log"
        log.touch()
        os.utime(log, (1000 + age, 1000 + age))
    point(server, current=RELEASES[4], previous=RELEASES[3])
    return server


def point(server: Server, current: str, previous: str) -> None:
    for name, release in (("current", current), ("previous", previous)):
        link = server.root / "srv/shop" / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"releases/{release}")
    environment = server.root / "etc/shop/app.env"
    environment.unlink(missing_ok=True)
    environment.symlink_to(server.root / f"etc/shop/app.{current}.env")


def test_the_newest_releases_stay_with_what_they_need(old_releases: Server) -> None:
    old_releases.run(PRUNE, "shop", "2")
    assert old_releases.names("srv/shop/releases") == set(RELEASES[3:])
    assert old_releases.names("srv/shop/environments") == {f"env-{release}" for release in RELEASES[3:]}
    assert old_releases.names("var/log/shop") == {f"shop-web.{release[:8]}.log" for release in RELEASES[3:]}
    # Nothing runs with another configuration than the one in use.
    assert old_releases.names("etc/shop") == {"app.env", f"app.{RELEASES[4]}.env"}
    assert old_releases.run(PRUNE, "shop", "2") == []


def test_the_current_release_and_the_one_before_stay_however_old(old_releases: Server) -> None:
    point(old_releases, current=RELEASES[0], previous=RELEASES[1])
    old_releases.run(PRUNE, "shop", "1")
    assert old_releases.names("srv/shop/releases") == {RELEASES[0], RELEASES[1], RELEASES[4]}


def test_a_release_in_which_a_process_runs_stays(old_releases: Server) -> None:
    with subprocess.Popen(
        ["sleep", "60"], cwd=old_releases.root / "srv/shop/releases" / RELEASES[0]
    ) as process:
        old_releases.run(PRUNE, "shop", "2")
        process.kill()
    assert old_releases.names("srv/shop/releases") == {RELEASES[0], *RELEASES[3:]}
    assert f"env-{RELEASES[0]}" in old_releases.names("srv/shop/environments")


def test_a_release_in_which_a_generation_drains_stays(old_releases: Server) -> None:
    singles = old_releases.root / "etc/supervisor/rootstock"
    singles.mkdir(parents=True, exist_ok=True)
    for generation, number in {"aaaaaaaa": 0, "bbbbbbbb": 1}.items():
        directory = old_releases.root / "srv/shop/releases" / RELEASES[number]
        (singles / f"shop.{generation}.retired").write_text(f"[program:x]\ndirectory={directory}\n")
    old_releases.supervisor("shop-web.aaaaaaaa   STOPPING")
    old_releases.run(PRUNE, "shop", "2")
    assert old_releases.names("srv/shop/releases") == {RELEASES[0], *RELEASES[3:]}
    assert old_releases.names("etc/supervisor/rootstock") == {"shop.aaaaaaaa.retired"}


def test_what_was_never_finished_goes_and_is_not_counted(old_releases: Server) -> None:
    (old_releases.root / "srv/shop/releases" / RELEASES[2] / ".complete").unlink()
    assert f"release {RELEASES[2]}" in old_releases.run(PRUNE, "shop", "3")
    assert old_releases.names("srv/shop/releases") == {RELEASES[1], *RELEASES[3:]}


def test_a_configuration_that_a_program_names_and_the_logs_of_one_that_drains_stay(
    old_releases: Server,
) -> None:
    used = old_releases.root / f"etc/shop/app.{RELEASES[1]}.env"
    (old_releases.root / "etc/supervisor/conf.d/shop.bbbbbbbb.conf").write_text(
        f"command=with-env {used} -- run\n"
    )
    old_releases.supervisor("shop-web.aaaaaaaa   STOPPING")
    old_releases.run(PRUNE, "shop", "2")
    assert used.exists()
    assert "shop-web.aaaaaaaa.log" in old_releases.names("var/log/shop")
    assert "shop-web.bbbbbbbb.log" not in old_releases.names("var/log/shop")
