from importlib import import_module

from django.apps import AppConfig


class OperationsConfig(AppConfig):
    name = "operations"

    def ready(self) -> None:
        # Connects its signal; it imports models, which are not there before now.
        import_module("operations.failures")
