"""A clock that can be moved: another clock and a shift; keeps nothing itself."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class VirtualClock:
    """Ticks with `base` (aware datetimes), `shift` ahead of it; a negative shift lags behind."""

    def __init__(self, base: Callable[[], datetime], shift: timedelta = timedelta(0)) -> None:
        self.base = base
        self.shift = shift

    def __call__(self) -> datetime:
        return self.base() + self.shift

    def advance(self, by: timedelta) -> None:
        """Move on, or back; raises OverflowError beyond the years 1 to 9999, and then stays."""
        moved = self.shift + by
        _ = self.base() + moved
        self.shift = moved

    def set_now(self, now: datetime) -> None:
        """Let it be `now` (aware), and tick on from there."""
        self.shift = now.astimezone(UTC) - self.base()
