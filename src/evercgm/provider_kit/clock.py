"""This machine's clock; what other machines go by (leases, due times, windows) is told by the database's."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Aware UTC."""
    return datetime.now(UTC)
