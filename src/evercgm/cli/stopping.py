"""How ``serve`` and ``work`` end: told by SIGTERM or SIGINT, and within ten seconds whatever still hangs."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from evercgm.logs import get_logger

log = get_logger(__name__)
# What hangs then, a database that cannot be reached or a vendor that does not answer, is left as if we had been killed:
# another worker takes it over.
LEAVE_AFTER_S = 9.0
FAILED = 1


def run_in_time(main: Coroutine[Any, Any, None]) -> None:
    """``asyncio.run``; once ``told_to_stop`` has heard, it has so long to return, or the process leaves with code 1."""
    signal.signal(signal.SIGALRM, _leave)
    try:
        asyncio.run(main)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def told_to_stop(stop: asyncio.Event) -> Callable[..., None]:
    """SIGTERM and SIGINT set ``stop`` from now on; so does what is returned, for who takes these signals over."""
    loop = asyncio.get_running_loop()

    def told(*_signal: object) -> None:
        loop.call_soon_threadsafe(stop.set)
        # Whoever is told twice has no more time for it.
        if not signal.getitimer(signal.ITIMER_REAL)[0]:
            signal.setitimer(signal.ITIMER_REAL, LEAVE_AFTER_S)

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, told)
    return told


def _leave(_signal: int, _frame: object) -> None:
    log.error("left_in_haste", after_s=LEAVE_AFTER_S)
    os._exit(FAILED)
