"""What every test process needs."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Start children with the signals of a shell's foreground job.

    A job in a shell's background ignores SIGINT, one under nohup SIGHUP, and children inherit
    that: a test that interrupts its child would wait for ever.
    """
    for ignored in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(ignored) is signal.SIG_IGN:
            signal.signal(ignored, signal.SIG_DFL)
