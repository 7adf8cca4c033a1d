"""Importing this module hardens the worker that imports it."""

from rootstock_worker import (
    broker,
    children,
    configuration,
    dead_letters,
    drain,
    events,
    heartbeat,
    publishing,
    results,
)

for module in (
    broker,
    children,
    configuration,
    dead_letters,
    drain,
    events,
    heartbeat,
    publishing,
    results,
):
    module.install()
