"""What every test process needs."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

# No test judges by time: on a machine that has other work everything is slow.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_configure() -> None:
    """Start children with the signals of a shell's foreground job.

    A job in a shell's background ignores SIGINT, one under nohup SIGHUP, and children inherit
    that: a test that interrupts its child would wait for ever.
    """
    for ignored in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(ignored) is signal.SIG_IGN:
            signal.signal(ignored, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a long test long enough on a busy machine, whatever its short form has."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.timeout(3 * 3600), append=False)
