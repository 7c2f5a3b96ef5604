"""How far a long deed has come, told to whoever looks on; a deed never depends on it."""

from collections.abc import Callable

Count = Callable[[int], None]


def unwatched(_progress: object) -> None:
    """Nobody looks on."""
