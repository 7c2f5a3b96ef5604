"""What went wrong at the command line, as one line on stderr and an exit code.

Our own errors speak for themselves. Any other is told by its class: its text may quote what it was about.
"""

import sys
from pathlib import Path
from types import TracebackType

from evercgm.core.errors import BadInput, EvercgmError, SettingsError
from evercgm.storage.database_errors import classify
from evercgm.storage.postgres_binaries import EmbeddedError

FAILED = 1
CANNOT_TELL = BAD_USE = 2
# As frames spell it: no link is followed.
HOUSE = Path(__file__).parents[1]


def tell(failure: Exception, *, without_database: int = FAILED) -> int:
    """Say it; the exit code. ``without_database``: that of a database which does not answer or refuses."""
    cause = _first(failure)
    if isinstance(cause, EvercgmError):
        _say(str(cause))
        return BAD_USE if isinstance(cause, SettingsError | BadInput | EmbeddedError) else FAILED
    if classify(cause) is not None:
        _say(f"the database does not answer or refuses ({type(cause).__name__})")
        return without_database
    place = _place(cause.__traceback__) or _place(failure.__traceback__)
    _say(f"a bug of ours: {type(cause).__name__} at {place}; its text may hold secrets and is not shown")
    return FAILED


def _say(words: str) -> None:
    sys.stderr.write(f"evercgm: {words}\n")


def _first(failure: Exception) -> Exception:
    """Of what tasks that ran beside each other raised, the first."""
    while isinstance(failure, ExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def _place(trace: TracebackType | None) -> str | None:
    """File and line of the innermost frame that is ours."""
    place = None
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(HOUSE):
            place = f"{file.relative_to(HOUSE.parent)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
