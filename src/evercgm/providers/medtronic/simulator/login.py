"""The simulated login (Auth0 with PKCE): page, codes, tokens that rotate, revocation; no readings."""

import base64
import secrets
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import parse_qs, urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from evercgm.providers.medtronic.simulator import faults
from evercgm.providers.medtronic.simulator.cloud import EXPIRES_IN_S, Account, Cloud, cloud_of, json_response
from evercgm.providers.medtronic.simulator.documents import AUDIENCES, CLIENT_IDS, REDIRECT_URI, SCOPE
from evercgm.providers.medtronic.simulator.pages import login_page
from evercgm.providers.medtronic.simulator.state import CODE_LIFE, REFRESH_LIFE, Grant
from evercgm.simulator_kit.answers import CutAnswer

LOGIN_FIELDS = (
    "client_id", "response_type", "scope", "audience", "redirect_uri", "code_challenge", "code_challenge_method",
    "state",
)  # fmt: skip
PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
REFUSALS = {
    "refresh_token": "Unknown or invalid refresh token.",
    "authorization_code": "Invalid authorization code",
}


async def authorize(request: Request) -> Response:
    """GET: the form. POST: back to the app with a code or `access_denied`, by 302."""
    cloud = cloud_of(request)
    form = await form_of(request) if request.method == "POST" else {}
    fields = {name: value for name, value in {**request.query_params, **form}.items() if name in LOGIN_FIELDS}
    if refusal := _refused(fields):
        return HTMLResponse(f"<p>{refusal}</p>", 400, headers=PAGE_HEADERS)
    shown = [(account.username, account.label) for account in cloud.accounts.values()]
    if request.method == "GET":
        return HTMLResponse(login_page(shown, fields), headers=PAGE_HEADERS)
    if form.get("decision") == "deny":
        return _back(fields, {"error": "access_denied", "error_description": "User cancelled"})
    account = cloud.accounts.get(form.get("username", ""))
    if form.get("captcha") != "ticked":
        return HTMLResponse(login_page(shown, fields, "Solve the captcha."), 400, headers=PAGE_HEADERS)
    if account is None or not secrets.compare_digest(account.password.encode(), form.get("password", "").encode()):
        return HTMLResponse(login_page(shown, fields, "Wrong user name or password."), 400, headers=PAGE_HEADERS)
    return _back(fields, {"code": _code(cloud, fields, account)})


def _refused(fields: Mapping[str, str]) -> str:
    if fields.get("client_id") not in CLIENT_IDS.values() or fields.get("redirect_uri") != REDIRECT_URI:
        return "Unknown client."
    if fields.get("response_type") != "code" or fields.get("audience") not in AUDIENCES.values():
        return "Unsupported response type or audience."
    if "code_challenge" in fields and fields.get("code_challenge_method") != "S256":
        return "Unsupported challenge."
    return ""


def _code(cloud: Cloud, fields: Mapping[str, str], account: Account) -> str:
    life_s = cloud.faults.take(faults.CODE_LIFE_S, "authorize", account.username)
    life = CODE_LIFE if life_s is None else timedelta(seconds=life_s)
    grant = Grant(fields["client_id"], account.username, "")
    return cloud.state.new_code(grant, fields["redirect_uri"], fields.get("code_challenge", ""), cloud.clock() + life)


def _back(fields: Mapping[str, str], answer: dict[str, str]) -> Response:
    if "state" in fields:
        answer = {**answer, "state": fields["state"]}
    return RedirectResponse(f"{fields['redirect_uri']}?{urlencode(answer)}", 302, PAGE_HEADERS)


async def give_tokens(request: Request) -> Response:
    """A code or a refresh token for new tokens."""
    cloud = cloud_of(request)
    form = await form_of(request)
    grant_type = form.get("grant_type", "")
    cloud.state.count("token_calls", grant_type if grant_type in REFUSALS else "other")
    username = cloud.state.owner_of(form.get("refresh_token") or form.get("code") or "")
    if error := cloud.faults.take(faults.TOKEN_ERROR, "token", username):
        return _wanted_error(cloud, error, grant_type)
    if form.get("client_id") not in CLIENT_IDS.values():
        return _error("invalid_client", "Client not found", 401)
    if grant_type == "authorization_code":
        return _for_code(cloud, request, form)
    if grant_type == "refresh_token":
        return _for_refresh(cloud, request, form)
    return _error("unsupported_grant_type", "Grant type not allowed", 403)


def _wanted_error(cloud: Cloud, error: str, grant_type: str) -> Response:
    if error == "html":
        return HTMLResponse("<html><body>Request blocked.</body></html>", 403)
    if error == "invalid_client":
        return _error(error, "Client not found", 401)
    return _refuse(cloud, grant_type) if error == "invalid_grant" else _error(error, "", 500)


def _for_code(cloud: Cloud, request: Request, form: Mapping[str, str]) -> Response:
    grant = cloud.state.use_code(
        form.get("code", ""), form["client_id"], form.get("redirect_uri", ""), form.get("code_verifier", ""),
        cloud.clock(),
    )  # fmt: skip
    if grant is None:
        return _refuse(cloud, "authorization_code")
    return json_response(_tokens(cloud, request, grant, rotates=True))


def _for_refresh(cloud: Cloud, request: Request, form: Mapping[str, str]) -> Response:
    username = cloud.state.owner_of(form.get("refresh_token", ""))
    rotates = not cloud.faults.take(faults.ROTATION_OFF, "token", username)
    grant, reused = cloud.state.spend_refresh(
        form.get("refresh_token", ""), form["client_id"], cloud.clock(), rotates=rotates
    )
    if reused and grant is not None:
        cloud.state.count("refresh_reuse")
        if cloud.faults.take(faults.REFRESH_REUSE, "token", username) == "end_family":
            cloud.state.end_family(grant.family)
    if grant is None or reused:
        return _refuse(cloud, "refresh_token")
    answer = json_response(_tokens(cloud, request, grant, rotates=rotates))
    lost = cloud.faults.take(faults.REFRESH_ANSWER_LOST, "token", username)
    if lost == "cut":
        kept = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return CutAnswer(bytes(answer.body), answer.status_code, kept, hang_up=True)
    return json_response({"message": "Endpoint request timed out"}, 504) if lost else answer


def _tokens(cloud: Cloud, request: Request, grant: Grant, *, rotates: bool) -> dict[str, object]:
    expires_in = cloud.faults.take(faults.EXPIRES_IN, "token", grant.username) or EXPIRES_IN_S
    now = cloud.clock()
    ends = now + timedelta(seconds=expires_in)
    issuer = f"{request.url.scheme}://{request.url.netloc}/"
    access = _jwt(_claims(cloud, grant, issuer, int(now.timestamp()), int(ends.timestamp())))
    cloud.state.keep(access, "access", grant, ends)
    answer: dict[str, object] = {
        "access_token": access,
        "scope": SCOPE,
        "expires_in": expires_in,
        "token_type": "Bearer",
    }
    if rotates:
        answer["refresh_token"] = f"v1.{secrets.token_urlsafe(48)}"
        cloud.state.keep(str(answer["refresh_token"]), "refresh", grant, now + REFRESH_LIFE)
    return answer


def _claims(cloud: Cloud, grant: Grant, issuer: str, iat: int, exp: int) -> dict[str, object]:
    account = cloud.accounts[grant.username]
    claims: dict[str, object] = {
        "iss": issuer,
        "sub": f"auth0|{account.username}",
        "iat": iat,
        "exp": exp,
        "scope": SCOPE,
        "azp": grant.client_id,
    }
    if not cloud.faults.take(faults.NO_DETAILS, username=account.username):
        details = {"preferred_username": account.username, "country": account.country, "roles": [account.role.lower()]}
        claims["token_details"] = details
    return claims


def _jwt(claims: Mapping[str, object]) -> str:
    """Without a valid signature. A client that is about decodes the middle as plain base64, so no "-" and "_" in it."""
    while True:
        middle = _base64({**claims, "jti": secrets.token_hex(8)})
        if not {"-", "_"} & set(middle):
            return f"{_base64({'alg': 'RS256', 'typ': 'JWT'})}.{middle}.bm90LWEtc2lnbmF0dXJl"


def _base64(content: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(content)).decode().rstrip("=")


async def revoke(request: Request) -> Response:
    """Ends the login that a refresh token belongs to; 200 whatever was sent, as Auth0 answers."""
    cloud = cloud_of(request)
    form = await form_of(request)
    grant, _ = cloud.state.spend_refresh(form.get("token", ""), form.get("client_id", ""), cloud.clock(), rotates=True)
    if grant is not None:
        cloud.state.end_family(grant.family)
    return Response(status_code=200)


def _refuse(cloud: Cloud, grant_type: str) -> Response:
    """Auth0 refuses with 403."""
    status = cloud.faults.take(faults.TOKEN_STATUS, "token") or 403
    return _error("invalid_grant", REFUSALS.get(grant_type, ""), status)


def _error(code: str, description: str, status: int) -> Response:
    return json_response({"error": code, "error_description": description}, status)


async def form_of(request: Request) -> dict[str, str]:
    """The body, urlencoded or JSON: both work there."""
    body = await request.body()
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            sent = msgspec.json.decode(body, type=dict[str, object])
        except msgspec.MsgspecError:
            return {}
        return {name: str(value) for name, value in sent.items()}
    return {name: found[0] for name, found in parse_qs(body.decode(errors="replace"), keep_blank_values=True).items()}
