"""Importing this module hardens the worker that imports it."""

from rootstock_worker import broker, children, dead_letters, drain, heartbeat, sent_at

for module in (broker, children, dead_letters, drain, heartbeat, sent_at):
    module.install()
