"""What a failure of the database means to a caller, so that no door needs to know the driver."""

from typing import Literal

import psycopg
from psycopg import errors

DatabaseTrouble = Literal["not_found", "bad_value", "already_connected", "conflict", "busy", "unavailable"]
ONE_CONNECTION_EACH = "cgm_connections_person_id_provider_key"

# Most special first: the first class that fits decides (database facts, 5.4).
_KINDS: tuple[tuple[type[psycopg.Error], DatabaseTrouble], ...] = (
    (errors.InsufficientPrivilege, "not_found"),
    # What a row was to belong to went away while we worked.
    (errors.ForeignKeyViolation, "not_found"),
    (errors.UniqueViolation, "conflict"),
    (errors.SerializationFailure, "busy"),
    (errors.DeadlockDetected, "busy"),
    (errors.LockNotAvailable, "busy"),
    (errors.QueryCanceled, "unavailable"),
    (errors.OperationalError, "unavailable"),
    (errors.DataError, "bad_value"),
)


def classify(exc: BaseException) -> DatabaseTrouble | None:
    """The kind of trouble, None where it is no trouble of the database or a bug of ours."""
    if isinstance(exc, errors.UniqueViolation) and exc.diag.constraint_name == ONE_CONNECTION_EACH:
        return "already_connected"
    for kind, trouble in _KINDS:
        if isinstance(exc, kind):
            return trouble
    return None
