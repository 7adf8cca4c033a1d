"""The projects of scenario `shapes` are whole, and each has its host."""

import compileall
import tomllib
from pathlib import Path

import pytest

from repository import PROJECT, load
from shapes import PACKAGES, second_release, write

INVENTORY = PROJECT / "molecule/shapes/inventory"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_project_is_whole_and_python_can_read_it(tmp_path: Path, name: str) -> None:
    top = write(name, tmp_path)
    assert (top / PACKAGES[name] / "jobs/tasks.py").exists()
    assert compileall.compile_dir(top, quiet=2)


@pytest.mark.parametrize("name", PACKAGES)
def test_the_second_release_differs_from_the_first_in_its_page(tmp_path: Path, name: str) -> None:
    top = write(name, tmp_path)
    before = {path: path.read_bytes() for path in top.rglob("*") if path.is_file()}
    second_release(top)
    assert [path.name for path, content in before.items() if path.read_bytes() != content] == ["base.html"]


def test_a_project_that_is_written_again_is_the_first_release(tmp_path: Path) -> None:
    second_release(write("older", tmp_path))
    assert [page for page in write("older", tmp_path).rglob("base.html") if "Release 1" in page.read_text()]


def test_each_project_is_deployed() -> None:
    hosts = load(INVENTORY / "hosts.yml")["all"]["children"]
    assert {"cookie", *hosts["others"]["children"]} == set(PACKAGES)
    names = {name: load(INVENTORY / f"group_vars/{name}/main.yml")["app_name"] for name in PACKAGES}
    assert names == {name: name for name in PACKAGES}


def test_the_version_of_the_package_is_the_one_that_is_deployed() -> None:
    project = tomllib.loads((PROJECT / "tests/apps/shapes/packaged/pyproject.toml").read_text())["project"]
    source = load(INVENTORY / "group_vars/packaged/main.yml")["app_source"]
    assert source == f"{project['name']}=={project['version']}"
