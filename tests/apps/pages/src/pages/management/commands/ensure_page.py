"""A command that a deployment runs: the page with this source is there afterwards, once."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from pages.models import Page


class Command(BaseCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source")

    def handle(self, *args: Any, **options: Any) -> None:
        Page.objects.get_or_create(source=options["source"])
