"""The simulated Dexcom login and token endpoint (OAuth 2.0 authorization code); no readings."""

from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from evercgm.providers.dexcom.simulator import faults
from evercgm.providers.dexcom.simulator.cloud import Cloud, cloud_of
from evercgm.providers.dexcom.simulator.pages import error_page, login_page
from evercgm.providers.dexcom.simulator.state import CODE_LIFE, Grant, TokenPair, region_of
from evercgm.providers.dexcom.simulator.troubles import form_of
from evercgm.simulator_kit.answers import json_response
from evercgm.simulator_kit.troubles import cut_answer, page

# PKCE is not among Dexcom's parameters; here it is checked where a challenge was sent, so that ours is proved.
LOGIN_FIELDS = (
    "client_id", "redirect_uri", "response_type", "scope", "state", "code_challenge", "code_challenge_method",
)  # fmt: skip
# Dexcom v3 sends the moment of its last revocation policy; the value means nothing to a client.
NOT_BEFORE_POLICY = 1726871301
OVERSIZE_BYTES = 5 * 1024 * 1024
ODD_EXPIRES_IN = {
    "expires_in_text": "abc",
    "expires_in_zero": 0,
    "expires_in_negative": -1,
    "expires_in_huge": 1_000_000_000,
}
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
    form = {**request.query_params, **(await form_of(request) or {})}
    fields = _login_fields(form)
    if refusal := _refused_login(cloud, fields):
        return refusal
    decision = form.get("decision")
    if decision == "deny":
        return _back(fields, {"error": "access_denied"})
    username = form.get("username", "")
    if decision != "approve" or username not in cloud.accounts:
        return _error("Choose a sandbox user and press Approve or Deny.")
    return _back(fields, {"code": _code(cloud, fields, username)})


def _code(cloud: Cloud, fields: Mapping[str, str], username: str) -> str:
    take = cloud.faults.take
    life_s = take(faults.CODE_LIFE_S, "login", username)
    return cloud.state.new_code(
        fields["client_id"],
        fields["redirect_uri"],
        take(faults.SECOND_ACCOUNT, "login", username) or username,
        cloud.clock(),
        life=CODE_LIFE if life_s is None else timedelta(seconds=life_s),
        region=cloud.region(),
        challenge=fields.get("code_challenge", ""),
    )


async def give_tokens(request: Request) -> Response:
    """A code or a refresh token for a new pair."""
    cloud = cloud_of(request)
    form = await form_of(request)
    grant_type = (form or {}).get("grant_type", "")
    known = {"authorization_code": _tokens_for_code, "refresh_token": _tokens_for_refresh}
    cloud.state.ledger.count("token_calls", grant_type if grant_type in known else "other")
    if not form or not all(form.get(name) for name in ("grant_type", "client_id", "client_secret")):
        return _token_error("invalid_request")
    if grant_type not in known:
        return _token_error("unsupported_grant_type")
    if status := cloud.faults.take(faults.CLIENT_SECRET_ROTATED, "token"):
        return _token_error("invalid_client", status)
    if not cloud.state.secret_fits(form["client_id"], form["client_secret"]):
        return _token_error("invalid_client")
    sent = form.get("refresh_token") or form.get("code") or ""
    username = cloud.state.owner_of(sent)
    if error := cloud.faults.take(faults.TOKEN_ERROR, "token", username):
        return page(502) if error == "html" else _token_error(error)
    if sent and region_of(sent) != cloud.region():
        return _token_error("invalid_grant")
    return known[grant_type](cloud, form)


def _tokens_for_code(cloud: Cloud, form: Mapping[str, str]) -> Response:
    if not form.get("code") or not form.get("redirect_uri"):
        return _token_error("invalid_request")
    now = cloud.clock()
    verifier = form.get("code_verifier", "")
    grant = cloud.state.use_code(form["code"], form["client_id"], form["redirect_uri"], now, verifier=verifier)
    if grant is None:
        return _token_error("invalid_grant")
    expires_in_s = _expires_in_s(cloud, grant.username)
    pair = cloud.state.new_tokens(grant, expires_in_s, now, region=cloud.region())
    return _token_answer(cloud, grant, pair, expires_in_s)


def _tokens_for_refresh(cloud: Cloud, form: Mapping[str, str]) -> Response:
    if not form.get("refresh_token"):
        return _token_error("invalid_request")
    expires_in_s = _expires_in_s(cloud, cloud.state.owner_of(form["refresh_token"]))
    pair, grant = cloud.state.rotate(
        form["refresh_token"], form["client_id"], expires_in_s, cloud.clock(), region=cloud.region()
    )
    if pair is not None and grant is not None:
        return _lost(cloud, grant, _token_answer(cloud, grant, pair, expires_in_s))
    if grant is not None:
        cloud.state.ledger.count("refresh_reuse")
        if _reuse_revokes(cloud, grant):
            cloud.state.revoke_family(grant.family)
    return _token_error("invalid_grant")


def _expires_in_s(cloud: Cloud, username: str | None) -> int:
    return cloud.faults.take(faults.EXPIRES_IN, "token", username) or cloud.settings.expires_in


def _reuse_revokes(cloud: Cloud, grant: Grant) -> bool:
    chosen = cloud.faults.take(faults.REFRESH_REUSE, "token", grant.username)
    return cloud.settings.refresh_reuse_revokes_family if chosen is None else chosen == "revoke_family"


def _lost(cloud: Cloud, grant: Grant, answer: Response) -> Response:
    """The answer, unless it is lost on its way: the rotation has happened."""
    lost = cloud.faults.take(faults.REFRESH_ANSWER_LOST, "token", grant.username)
    if lost is None:
        return answer
    return page(504) if lost == "504" else cut_answer(answer, hang_up=True)


def _token_answer(cloud: Cloud, grant: Grant, pair: TokenPair, expires_in_s: int) -> Response:
    content: dict[str, object] = {
        "access_token": pair.access_token,
        "expires_in": expires_in_s,
        "token_type": "Bearer",
        "refresh_token": pair.refresh_token,
        # As in Dexcom's sample; it does not mean "expired".
        "refresh_expires_in": 0,
        "not-before-policy": NOT_BEFORE_POLICY,
        "session_state": pair.session_state,
    }
    odd = cloud.faults.take(faults.TOKEN_ANSWER, "token", grant.username)
    if odd == "html":
        return page()
    if odd == "utf16":
        return Response(msgspec.json.encode(content).decode().encode("utf-16"), media_type="application/json")
    if odd in ODD_EXPIRES_IN:
        content["expires_in"] = ODD_EXPIRES_IN[odd]
    if odd in ("no_refresh_token", "no_access_token"):
        del content[odd.removeprefix("no_")]
    if odd == "oversize":
        content["padding"] = "x" * OVERSIZE_BYTES
    return json_response(content)


def _token_error(code: str, status: int = 400) -> Response:
    return json_response({"error": code}, status)


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
    if "code_challenge" in fields and fields.get("code_challenge_method") != "S256":
        return _back(fields, {"error": "invalid_request"})
    return None


def _back(fields: Mapping[str, str], answer: dict[str, str]) -> Response:
    if "state" in fields:
        answer = {**answer, "state": fields["state"]}
    uri = fields["redirect_uri"]
    return RedirectResponse(f"{uri}{'&' if '?' in uri else '?'}{urlencode(answer)}", 303, PAGE_HEADERS)


def _error(text: str) -> Response:
    return HTMLResponse(error_page(text), 400, headers=PAGE_HEADERS)
