"""Errors into RFC 9457 problems, in this one place: a stable code and a sentence to act on, no inner detail."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from evercgm.core import errors
from evercgm.core.caller import Caller
from evercgm.core.connection import MESSAGES
from evercgm.logs import get_logger
from evercgm.storage import audit
from evercgm.storage.database_errors import DatabaseTrouble, classify

log = get_logger(__name__)
MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An answer that is an error: HTTP status, stable code, a sentence that a person can act on."""

    def __init__(self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None):
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})


class ProblemBody(BaseModel):
    """The body of every error.

    ``errors`` names the fields that are wrong; of a file also ``line`` and ``column``, of a question its ``choices``.
    ``attempt``: a sign-in that waits ten minutes for a yes, or for one of the ``choices`` (id and label).
    """

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    request_id: str | None = None
    errors: list[dict[str, Any]] | None = None
    attempt: str | None = None
    choices: list[dict[str, str]] | None = None


TITLES = {
    400: "Bad request", 401: "Not signed in", 403: "Refused", 404: "Not found", 405: "Method not allowed",
    409: "Needs a step from you", 413: "Too large", 415: "Not a form that we read", 422: "A field is wrong",
    429: "Too soon", 500: "Our mistake", 502: "The vendor's answer cannot be used",
    503: "Not available now",
}  # fmt: skip
_BANNED = "The vendor takes no sign-in from the address of this service for a while: it is not your password."
# Most special first; every error of core/errors.py has its line. Each code stands in docs/errors.md, too.
_ANSWERS: tuple[tuple[type[errors.EvercgmError], int, str, str], ...] = (
    (errors.NotYours, 404, "not_found", "There is no such thing among what you may see."),
    (errors.SyncTooSoon, 429, "sync_too_soon", "A sync started less than a minute ago. Try again shortly."),
    (
        errors.TooOften,
        429,
        "too_often",
        "Done too often within an hour; nothing was changed. Try again later.",
    ),
    (errors.SignInLocked, 409, "sign_in_locked", "The vendor takes no sign-in of this account now. Try again later."),
    (errors.OtherAccount, 409, "other_account", "This is another account than before. Confirm that it is meant."),
    (errors.ChooseFirst, 409, "choose_person", "This account follows several people. Say which of them this is."),
    (errors.SignInsBanned, 503, "sign_ins_banned", _BANNED),
    (errors.SignInsHeldBack, 503, "sign_ins_banned", _BANNED),
    (errors.VendorRateLimited, 503, "rate_limited", "The vendor lets us ask only so often. Try again later."),
    (errors.VendorTryLater, 503, "vendor_unavailable", "The vendor's cloud does not answer. Try again later."),
    (errors.VendorDenied, 502, "vendor_denied", "The vendor refuses our calls at the moment. Try again later."),
    (errors.VendorChanged, 502, "vendor_changed", "The vendor sent an answer that we cannot read."),
    (errors.OperatorMustAct, 502, "operator_must_act", "The vendor refuses this service. The operator must act."),
    (errors.VendorError, 503, "vendor_unavailable", "The vendor's cloud does not answer as it should. Try again."),
    (errors.GrantRefused, 409, "reconnect_needed", "The vendor ended our access. Connect once more."),
    (errors.ReconnectNeeded, 409, "reconnect_needed", MESSAGES["reconnect_needed"]),
    (
        errors.NewerVersion,
        503,
        "newer_version",
        "A newer version of this service made this. Try again in a few minutes.",
    ),
    (errors.SealBroken, 500, "seal_broken", "A stored secret cannot be opened. Tell the operator."),
    (errors.SettingsError, 500, "wrong_setting", "A setting of this service is wrong. Tell the operator."),
)
_OPERATOR_MUST: dict[errors.Cure, str] = {
    "credentials": "The operator must renew our access at the vendor.",
    "app_version": "The vendor wants a newer app version named: the operator must set it. It is not your account.",
    "address": "The vendor refuses the address of this service. It says nothing about your account or password.",
    "release": "The vendor has moved, and this service must be brought up to date. Nothing is wrong with your account.",
}
_NOTHING_TO_SYNC = {
    "not_connected": "This person has no connection that we sync. Connect one first.",
    "paused": "This connection is paused. Resume it first.",
    "by_file": "This connection is filled by files alone. Import the next one.",
}
_DATABASE: dict[DatabaseTrouble, tuple[int, str, str]] = {
    "not_found": (404, "not_found", "There is no such thing among what you may see."),
    "bad_value": (400, "bad_value", "A value has a form that cannot be stored or looked up."),
    "already_connected": (409, "already_connected", "This person is connected there already. Load the page anew."),
    "conflict": (409, "conflict", "This is there already. Load the page anew."),
    "busy": (503, "try_again", "Something else changed the same data. Try again."),
    "unavailable": (503, "database_unavailable", "The database does not answer. Try again in a moment."),
}
_BY_STATUS = {
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method."),
    415: ("not_json", "Send the fields as JSON, with Content-Type: application/json."),
}
# What a field should be, by the kind of its fault as pydantic names it; the braces are filled from the field's bounds.
_SENTENCES = {
    "missing": "is missing",
    "extra_forbidden": "there is no such field here",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be a text",
    "string_too_long": "must have at most {max_length} characters",
    # All such fields are ids, tokens and cursors of ours.
    "string_pattern_mismatch": "is not of the form that we give: copy it from our answer as it is",
    "timezone_aware": "must name its offset: Z, or one such as +01:00 (in an address %2B01:00)",
    "json_invalid": "is no JSON",
    "value_error": "{error}",
}
_NO_TIME = "must be a time such as 2026-11-24T08:00:00Z"
_NO_OBJECT = 'must be a JSON object: {"name": value}'
_NOT_READ = "cannot be read: /openapi.json tells its form"
_OTHERWISE = ("bad_request", "The request cannot be read.")
_INTERNAL = (500, "internal_error", "Something went wrong on our side. Nothing was changed by halves.")
_PROBLEM_CONTENT = {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema()}}
# For the OpenAPI document.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The caller can mend it", "content": _PROBLEM_CONTENT},
    "5XX": {"description": "Not the caller's fault", "content": _PROBLEM_CONTENT},
}


def problem_of(exc: Exception) -> Problem:
    """What to tell about an exception. Unknown ones give a 500 and are logged by their class alone."""
    if isinstance(exc, Problem):
        return exc
    if isinstance(exc, errors.BadInput):
        return Problem(422, "bad_input", f"{exc.field}: {exc.message}")
    if isinstance(exc, errors.TooLarge):
        return Problem(413, "too_large", f"The file is larger than {exc.most_mb} MB. Export a shorter period.")
    if isinstance(exc, errors.NothingToSync):
        return Problem(409, exc.reason, _NOTHING_TO_SYNC[exc.reason])
    for kind, status, code, detail in _ANSWERS:
        if isinstance(exc, kind):
            return Problem(status, _code(exc, code), _detail(exc, detail), headers=_retry_after(exc))
    trouble = classify(exc)
    if trouble is not None:
        log.warning("database_trouble", error=type(exc).__name__, kind=trouble)
        return Problem(*_DATABASE[trouble], headers=_try_again(trouble))
    log.error("request_failed", error=type(exc).__name__)
    return Problem(*_INTERNAL)


def _try_again(trouble: DatabaseTrouble) -> dict[str, str]:
    return {"Retry-After": "1"} if trouble in ("busy", "unavailable") else {}


def _code(exc: errors.EvercgmError, code: str) -> str:
    return exc.reason if isinstance(exc, errors.ReconnectNeeded) else code


def _detail(exc: errors.EvercgmError, detail: str) -> str:
    """The step that a person must take, or the operator, has a sentence of its own."""
    if isinstance(exc, errors.OperatorMustAct):
        return _OPERATOR_MUST[exc.cure]
    if isinstance(exc, errors.SignInsBanned | errors.SignInsHeldBack):
        return f"{detail} Try again {_in_words(exc.retry_after_s)}."
    return MESSAGES.get(exc.reason, detail) if isinstance(exc, errors.ReconnectNeeded) else detail


def _in_words(seconds: int | None) -> str:
    if seconds is None:
        return "later"
    minutes = max(1, round(seconds / 60))
    if minutes < 120:
        return f"in {minutes} minutes" if minutes > 1 else "in a minute"
    return f"in {round(minutes / 60)} hours"


def _retry_after(exc: errors.EvercgmError) -> dict[str, str]:
    seconds = getattr(exc, "retry_after_s", None)
    return {} if seconds is None else {"Retry-After": str(math.ceil(seconds))}


def problem_response(
    problem: Problem,
    request_id: str | None,
    fields: Sequence[dict[str, Any]] | None = None,
    *,
    attempt: str | None = None,
    choices: list[dict[str, str]] | None = None,
) -> JSONResponse:
    """The answer itself; what is None is left out."""
    body = ProblemBody(
        title=TITLES.get(problem.status, "Error"),
        status=problem.status,
        code=problem.code,
        detail=problem.detail,
        request_id=request_id,
        errors=None if fields is None else list(fields),
        attempt=attempt,
        choices=choices,
    )
    return JSONResponse(
        body.model_dump(exclude_none=True), problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )


def request_id_of(request: Request) -> str | None:
    """The id that the answer's X-Request-Id carries."""
    found = request.scope.get("evercgm.request_id")
    return found if isinstance(found, str) else None


def install(app: FastAPI) -> None:
    """Answer all errors of routes as problems; what escapes from here is caught in headers.py."""
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(errors.EvercgmError, _on_error)
    app.add_exception_handler(Problem, _on_error)


async def _on_error(request: Request, exc: Exception) -> JSONResponse:
    problem = problem_of(exc)
    answer = problem_response(problem, request_id_of(request), _fields(exc, problem), **_waiting(exc))
    # A route may have put the refusal into words of its own.
    refused = exc.__cause__ if isinstance(exc, Problem) else exc
    caller = getattr(request.state, "caller", None)
    if isinstance(refused, errors.NotYours) and refused.id is not None and isinstance(caller, Caller):
        # Looked up once the answer is sent, for unknown ids too: its time tells nobody which of the two it was.
        answer.background = BackgroundTask(audit.record_refusal, request.app.state.runtime.db, caller, refused)
    return answer


def _waiting(exc: Exception) -> dict[str, Any]:
    """What the person is to say about a sign-in that waits."""
    if isinstance(exc, errors.OtherAccount):
        return {"attempt": exc.attempt}
    if isinstance(exc, errors.ChooseFirst):
        return {"attempt": exc.attempt, "choices": [{"id": one.id, "label": one.label} for one in exc.choices]}
    return {}


def _fields(exc: Exception, problem: Problem) -> list[dict[str, Any]] | None:
    if isinstance(exc, errors.BadInput):
        more: dict[str, Any] = {}
        if isinstance(exc, errors.CellRefused):
            more = {"line": exc.line, "column": exc.column}
        elif isinstance(exc, errors.AnswerNeeded):
            more = {"choices": list(exc.choices)}
        return [{"field": exc.field, "message": exc.message, **more}]
    return [{"field": exc.field, "message": problem.detail}] if isinstance(exc, errors.NothingToSync) else None


async def _on_http(request: Request, exc: Exception) -> JSONResponse:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    headers = exc.headers if isinstance(exc, HTTPException) else None
    code, detail = _BY_STATUS.get(status, _OTHERWISE)
    if isinstance(exc, HTTPException) and status == 413:
        code, detail = "too_large", exc.detail
    return problem_response(Problem(status, code, detail, headers=headers), request_id_of(request))


async def _on_validation(request: Request, exc: Exception) -> JSONResponse:
    if _is_other_media(request):
        return problem_response(Problem(415, *_BY_STATUS[415]), request_id_of(request))
    found = exc.errors() if isinstance(exc, RequestValidationError) else []
    fields = [{"field": _field(item["loc"]), "message": _sentence(item)} for item in found]
    detail = "; ".join(f"{item['field']}: {item['message']}" for item in fields[:3])
    return problem_response(Problem(422, "bad_input", detail), request_id_of(request), fields[:20])


def _sentence(fault: Mapping[str, Any]) -> str:
    """What would be right; never pydantic's own words, which are for who wrote the field."""
    kind = str(fault["type"])
    if kind.startswith("datetime"):
        return _NO_TIME
    if kind in ("model_attributes_type", "model_type", "dict_type"):
        return _NO_OBJECT
    return _SENTENCES.get(kind, _NOT_READ).format_map(fault.get("ctx", {}))


def _is_other_media(request: Request) -> bool:
    """Whether a body says that it is no JSON: then its fields were not looked at."""
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return request.method == "POST" and said not in ("", "application/json") and not said.endswith("+json")


def _field(loc: Sequence[Any]) -> str:
    """The field's name without the part of the request that it stands in."""
    names = [str(part)[:200] for part in loc if part not in ("body", "query", "path", "header")]
    return ".".join(names) if names and not names[0].isdigit() else "body"
