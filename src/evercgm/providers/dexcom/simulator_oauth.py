"""The simulated Dexcom login and token endpoint (OAuth 2.0 authorization code); no readings."""

from collections.abc import Mapping
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from evercgm.providers.dexcom.simulator_cloud import Cloud, cloud_of, json_response
from evercgm.providers.dexcom.simulator_pages import error_page, login_page
from evercgm.providers.dexcom.simulator_state import TokenPair

LOGIN_FIELDS = ("client_id", "redirect_uri", "response_type", "scope", "state")
# Dexcom v3 sends the moment of its last revocation policy; the value means nothing to a client.
NOT_BEFORE_POLICY = 1726871301
# No form-action here: browsers would apply it to the redirect after the form as well.
PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


async def show_login(request: Request) -> Response:
    """The list of users; refused links get a page, bad options go back to the client."""
    cloud = cloud_of(request)
    fields = _login_fields(request.query_params)
    if refusal := _refused_login(cloud, fields):
        return refusal
    users = [(account.username, account.label) for account in cloud.accounts.values()]
    return HTMLResponse(login_page(users, fields), headers=PAGE_HEADERS)


async def answer_login(request: Request) -> Response:
    """Approve or Deny: back to the client with a code or `access_denied`."""
    cloud = cloud_of(request)
    form = {**request.query_params, **(await _form(request) or {})}
    fields = _login_fields(form)
    if refusal := _refused_login(cloud, fields):
        return refusal
    decision = form.get("decision")
    if decision == "deny":
        return _back(fields, {"error": "access_denied"})
    username = form.get("username", "")
    if decision != "approve" or username not in cloud.accounts:
        return _error("Choose a sandbox user and press Approve or Deny.")
    code = cloud.state.new_code(fields["client_id"], fields["redirect_uri"], username, cloud.clock())
    return _back(fields, {"code": code})


async def give_tokens(request: Request) -> Response:
    """A code or a refresh token for a new pair."""
    cloud = cloud_of(request)
    form = await _form(request)
    grant_type = (form or {}).get("grant_type", "")
    known = {"authorization_code": _tokens_for_code, "refresh_token": _tokens_for_refresh}
    cloud.state.count("token_calls", grant_type if grant_type in known else "other")
    if not form or not all(form.get(name) for name in ("grant_type", "client_id", "client_secret")):
        return _token_error("invalid_request")
    if grant_type not in known:
        return _token_error("unsupported_grant_type")
    if not cloud.state.secret_fits(form["client_id"], form["client_secret"]):
        return _token_error("invalid_client")
    return known[grant_type](cloud, form)


def _tokens_for_code(cloud: Cloud, form: Mapping[str, str]) -> Response:
    if not form.get("code") or not form.get("redirect_uri"):
        return _token_error("invalid_request")
    now = cloud.clock()
    grant = cloud.state.use_code(form["code"], form["client_id"], form["redirect_uri"], now)
    if grant is None:
        return _token_error("invalid_grant")
    pair = cloud.state.new_tokens(grant, cloud.settings.expires_in, now)
    return _token_answer(pair, cloud.settings.expires_in)


def _tokens_for_refresh(cloud: Cloud, form: Mapping[str, str]) -> Response:
    if not form.get("refresh_token"):
        return _token_error("invalid_request")
    settings = cloud.settings
    pair, grant = cloud.state.rotate(form["refresh_token"], form["client_id"], settings.expires_in, cloud.clock())
    if pair is not None:
        return _token_answer(pair, settings.expires_in)
    if grant is not None:
        cloud.state.count("refresh_reuse")
        if settings.refresh_reuse_revokes_family:
            cloud.state.revoke_family(grant.family)
    return _token_error("invalid_grant")


def _token_answer(pair: TokenPair, expires_in_s: int) -> Response:
    return json_response(
        {
            "access_token": pair.access_token,
            "expires_in": expires_in_s,
            "token_type": "Bearer",
            "refresh_token": pair.refresh_token,
            # As in Dexcom's sample; it does not mean "expired".
            "refresh_expires_in": 0,
            "not-before-policy": NOT_BEFORE_POLICY,
            "session_state": pair.session_state,
        }
    )


def _token_error(code: str) -> Response:
    return json_response({"error": code}, 400)


async def _form(request: Request) -> dict[str, str] | None:
    """The urlencoded body; None if it is something else or names a field twice."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != "application/x-www-form-urlencoded":
        return None
    values = parse_qs((await request.body()).decode(errors="replace"), keep_blank_values=True)
    if any(len(found) > 1 for found in values.values()):
        return None
    return {name: found[0] for name, found in values.items()}


def _login_fields(given: Mapping[str, str]) -> dict[str, str]:
    return {name: given[name] for name in LOGIN_FIELDS if name in given}


def _refused_login(cloud: Cloud, fields: Mapping[str, str]) -> Response | None:
    """Why this login cannot go on; a redirect only where the address to go back to is trusted."""
    if not cloud.state.is_registered(fields.get("client_id", ""), fields.get("redirect_uri", "")):
        return _error("The client application is not known or is not authorized.")
    if "response_type" not in fields or "scope" not in fields:
        return _back(fields, {"error": "invalid_request"})
    if fields["response_type"] != "code":
        return _back(fields, {"error": "unsupported_response_type"})
    if fields["scope"] != "offline_access":
        return _back(fields, {"error": "invalid_scope"})
    return None


def _back(fields: Mapping[str, str], answer: dict[str, str]) -> Response:
    if "state" in fields:
        answer = {**answer, "state": fields["state"]}
    uri = fields["redirect_uri"]
    return RedirectResponse(f"{uri}{'&' if '?' in uri else '?'}{urlencode(answer)}", 303, PAGE_HEADERS)


def _error(text: str) -> Response:
    return HTMLResponse(error_page(text), 400, headers=PAGE_HEADERS)
