"""The syncs that a worker has in hand, and what becomes of them when it is told to stop."""

import asyncio
from collections.abc import Awaitable, Callable


class GivenBackError(Exception):
    """There was no time to finish: somebody else goes on where this one was."""


class Hands:
    """``hold`` carries out one piece of work; after ``let_go`` nothing is begun, and what runs has so long to end."""

    def __init__(self) -> None:
        self._limits: set[asyncio.Timeout] = set()
        self._letting_go = False

    async def hold(self, work: Callable[[], Awaitable[object]]) -> None:
        """Raises GivenBackError where the time was over before it had ended, and what ``work`` raises."""
        if self._letting_go:
            raise GivenBackError
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limits.add(limit)
                await work()
        except TimeoutError:
            if limit.expired():
                raise GivenBackError from None
            raise
        finally:
            self._limits.discard(limit)

    def let_go(self, within_s: float) -> None:
        """From now on nothing is begun; what is still in hand after ``within_s`` is given back."""
        self._letting_go = True
        until = asyncio.get_running_loop().time() + within_s
        for limit in self._limits:
            limit.reschedule(until)
