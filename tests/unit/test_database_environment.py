"""plugins/filter/database_environment.py gives an application the parts of its database's URL."""

import pytest

from repository import source_module

database_environment = source_module("plugins/filter/database_environment.py").database_environment

NAMES = {"host": "DB_HOST", "port": "DB_PORT", "name": "DB_NAME", "user": "DB_USER", "password": "DB_PASS"}
URL = "postgresql://sh%40p:p%2Fw%25@db.example.net:6432/the%20shop?sslmode=verify-full"


def test_every_part_but_the_password_decoded() -> None:
    assert database_environment(URL, NAMES, secret=False) == {
        "DB_HOST": "db.example.net",
        "DB_PORT": "6432",
        "DB_NAME": "the shop",
        "DB_USER": "sh@p",
    }


def test_the_password_alone() -> None:
    assert database_environment(URL, NAMES, secret=True) == {"DB_PASS": "p/w%"}


def test_several_names_for_a_part_and_none_for_others() -> None:
    names = {"host": ["DB_HOST", "PGHOST"]}
    assert database_environment(URL, names, secret=False) == {
        "DB_HOST": "db.example.net",
        "PGHOST": "db.example.net",
    }
    assert database_environment(URL, names, secret=True) == {}


@pytest.mark.parametrize(
    ("url", "host", "port", "password"),
    [
        ("postgresql://shop@[fd00::1]/shop", "fd00::1", "5432", ""),
        ("postgres://shop:x@db/shop", "db", "5432", "x"),
    ],
)
def test_parts_that_are_not_there(url: str, host: str, port: str, password: str) -> None:
    found = database_environment(url, NAMES, secret=False)
    assert (found["DB_HOST"], found["DB_PORT"]) == (host, port)
    assert database_environment(url, NAMES, secret=True) == {"DB_PASS": password}
