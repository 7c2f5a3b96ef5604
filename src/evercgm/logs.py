"""Structured logs on stderr, one event a line, with everything that looks like a secret cut out.

Of an exception only its class and place are kept: its text may quote what it was about. Libraries are heard from
WARNING on, the first line of each message.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import UUID

import structlog

HIDDEN = "***"
OURS = "evercgm"
DEEPEST = 4
LONGEST = 2000
_WORDS = r"token|secret|password|passwd|verifier|code|state|cookie|authorization|dsn|e_?mail|user_?name|glucose|mg_dl"
_SECRET_NAMES = re.compile(_WORDS + r"|key$|^values?$|body|payload|quer(y|ies)$|^params$", re.IGNORECASE)
# Secrets by their form, wherever they stand.
_SECRET_TEXTS = re.compile(
    "|".join(
        (
            r"\bv1\.[0-9a-f]{8}\.[\w-]+=*",  # sealed by us
            r"\b[0-9a-f]{32}:[0-9a-f]{32}:[0-9a-f]+",  # sealed by the host app
            r"\beyJ[\w-]+\.[\w-]+\.[\w-]*",  # a JSON web token
            r"\bcookie[\"']?\s*[=:].*",
            r"\b(?:bearer|basic)\s+\S+",
            r"(?<=://)[^/@\s]+(?=@)",  # a password in an address
            r"(?<=[\w/])\?\S+",  # the query of an address
            # a field of a form, of JSON, of a repr
            rf"\b\w*(?:{_WORDS})\w*\b[\"']?\s*[=:]\s*[\"']?(?:(?:bearer|basic)\s+)?[^\s\"'&,;)}}]+",
            r"[\w.+-]+@[\w-]+\.[\w.-]+",  # an e-mail address
            r"(?<![\w/.-])[\w+-]{40,}=*",  # longer than any id of ours
        )
    ),
    re.IGNORECASE,
)
_PLAIN_NAMES = frozenset({"event", "level", "timestamp", "error_code", "status_code", "key_id", "state_name"})


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Cut secrets out of an event by name and by form; what is left is safe to keep."""
    for name, value in event.items():
        # With an underscore: the logging library's own, removed before anything is written.
        if not name.startswith("_"):
            event[name] = _cleaned(name, value, DEEPEST)
    return event


def _cleaned(name: str, value: Any, deep: int) -> Any:
    if name not in _PLAIN_NAMES and _SECRET_NAMES.search(name):
        return HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _SECRET_TEXTS.sub(HIDDEN, value[:LONGEST])
    if isinstance(value, Mapping) and deep:
        return {_cleaned("", str(key), 0): _cleaned(str(key), inner, deep - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and deep:
        return [_cleaned("", inner, deep - 1) for inner in value]
    # A text made from anything else may quote all it holds.
    return str(value) if isinstance(value, date | UUID) else type(value).__name__


def without_exception_texts(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Of an exception its class and where it was raised."""
    exc_info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    if isinstance(exc_info, BaseException):
        event.setdefault("error", type(exc_info).__name__)
        event.setdefault("at", _place(exc_info.__traceback__))
    return event


def _place(trace: TracebackType | None) -> str | None:
    """File and line of the innermost frame."""
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def _first_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """asyncio, for one, says below its first line which exception it means, with its text."""
    lines = str(event.get("event", "")).splitlines()
    event["event"] = lines[0] if lines else ""
    return event


def set_up_logs(level: str, log_format: str | None = None) -> None:
    """Send our events and those of libraries to stderr; ``log_format`` json, text, or by terminal."""
    as_text = log_format == "text" or (log_format is None and sys.stderr.isatty())
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    after: list[structlog.typing.Processor] = [without_exception_texts, redact]
    structlog.configure(
        processors=[*before, *after, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    last = structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*before, _first_line, *after],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    for name in ("uvicorn", "uvicorn.error"):
        # A server started with its own set-up would print beside us, past the redaction.
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    _set_levels(logging.getLevelNamesMapping()[level])
    sys.excepthook = _crashed


def _set_levels(level: int) -> None:
    """Libraries may log addresses with queries, headers, statements, job payloads: their warnings are enough."""
    logging.getLogger().setLevel(max(logging.WARNING, level))
    logging.getLogger(OURS).setLevel(level)
    # The server's own starting and stopping; its access log is off, and stays so whatever it is told.
    logging.getLogger("uvicorn.error").setLevel(max(logging.INFO, level))
    logging.getLogger("uvicorn.access").disabled = True


def _crashed(_kind: type[BaseException], failure: BaseException, _trace: TracebackType | None) -> None:
    """A bug that reached the top: an event like any other, not a traceback with the exception's text."""
    logging.getLogger(OURS).critical("crashed", exc_info=failure)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for ``event_name key=value`` lines."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
