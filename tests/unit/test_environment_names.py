"""plugins/filter/environment_names.py gives environment variables the names that an application reads."""

from repository import source_module

environment_names = source_module("plugins/filter/environment_names.py").environment_names

URLS = {"DATABASE_URL": "postgresql://x", "CELERY_BROKER_URL": "redis://x/1"}


def test_without_names_everything_keeps_its_own() -> None:
    assert environment_names(URLS, {}) == URLS


def test_a_name_takes_the_place_of_the_standard_one() -> None:
    assert environment_names(URLS, {"DATABASE_URL": "DB"}) == {
        "DB": "postgresql://x",
        "CELERY_BROKER_URL": "redis://x/1",
    }


def test_a_value_can_have_several_names() -> None:
    assert environment_names(URLS, {"CELERY_BROKER_URL": ["REDIS", "QUEUE"]}) == {
        "DATABASE_URL": "postgresql://x",
        "REDIS": "redis://x/1",
        "QUEUE": "redis://x/1",
    }


def test_a_name_for_a_variable_that_is_not_there_adds_nothing() -> None:
    assert environment_names(URLS, {"SECRET_KEY": "KEY"}) == URLS
