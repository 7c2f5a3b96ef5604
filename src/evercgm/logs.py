"""Structured logs on stderr, one event a line, with everything that looks like a secret cut out."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

HIDDEN = "***"
_SECRET_NAMES = re.compile(r"token|secret|password|code|state|cookie|authorization|key$|dsn", re.IGNORECASE)
# Sealed values, JSON web tokens, bearer headers, passwords in addresses, and queries of addresses.
_SECRET_TEXTS = re.compile(
    r"v1\.[0-9a-f]{8}\.[\w-]+=*|eyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=earer )\S+|(?<=://)[^/@\s]+(?=@)|(?<=\w)\?\S+"
)
_PLAIN_NAMES = frozenset({"event", "level", "timestamp", "error_code", "status_code", "key_id", "state_name"})


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Cut secrets out of an event by name and by form; what is left is safe to keep."""
    for name, value in event.items():
        if name not in _PLAIN_NAMES and _SECRET_NAMES.search(name):
            event[name] = HIDDEN
        elif isinstance(value, str):
            event[name] = _SECRET_TEXTS.sub(HIDDEN, value)
    return event


def set_up_logs(level: str, log_format: str | None = None) -> None:
    """Send our events and those of libraries to stderr; ``log_format`` json, text, or by terminal."""
    as_text = log_format == "text" or (log_format is None and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last = structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _foreign_text, redact],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Libraries may log addresses with queries or job payloads; their warnings are enough.
    for library in ("httpx2", "httpcore2", "psycopg", "psycopg.pool", "pgqueuer", "uvicorn.access"):
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def _foreign_text(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A library's traceback may quote what it worked on: only its class is kept."""
    exc_info = event.pop("exc_info", None)
    if isinstance(exc_info, tuple) and exc_info[0] is not None:
        event["error"] = exc_info[0].__name__
    return event


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for ``event_name key=value`` lines."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
