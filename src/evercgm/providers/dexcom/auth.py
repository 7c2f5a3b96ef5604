"""Dexcom's consent: where it is given, and its code and refresh tokens into Tokens; stores nothing."""

import httpx2

from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Login, VendorApp
from evercgm.provider_kit.oauth import consent_url, token_request

# Dexcom v3, "authentication", read 2026-11; /v2/oauth2 still answers, with the same state.
LOGIN_PATH = "/v3/oauth2/login"
TOKEN_PATH = "/v3/oauth2/token"  # noqa: S105


def begin(app: VendorApp, login: Login) -> str:
    """The consent page's address. Dexcom v3, "login", read 2026-11: offline_access is the only scope.

    PKCE is not among Dexcom's parameters; it is sent all the same, and nothing depends on it.
    """
    return consent_url(
        app.base_url + LOGIN_PATH,
        {
            "client_id": app.client_id,
            "redirect_uri": app.redirect_uri,
            "response_type": "code",
            "scope": "offline_access",
            "state": login.state,
            "code_challenge": login.code_challenge,
            "code_challenge_method": "S256",
        },
    )


async def finish(http: httpx2.AsyncClient, app: VendorApp, code: Secret, verifier: Secret) -> Tokens:
    """A code into tokens. Dexcom v3, "token", read 2026-11: a code lives one minute and works once.

    Raises GrantRefused, OperatorMustAct, VendorTryLater, VendorChanged.
    """
    form = {
        "grant_type": "authorization_code",
        "code": code.reveal(),
        "redirect_uri": app.redirect_uri,
        "code_verifier": verifier.reveal(),
    }
    return await token_request(http, app.base_url + TOKEN_PATH, form | _credentials(app))


async def refresh(http: httpx2.AsyncClient, app: VendorApp, refresh_token: Secret) -> Tokens:
    """A refresh token into new tokens. Dexcom v3, "token", read 2026-11: it works once, a new one comes back.

    Raises GrantRefused, OperatorMustAct, VendorTryLater, VendorChanged.
    """
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}
    return await token_request(http, app.base_url + TOKEN_PATH, form | _credentials(app))


def _credentials(app: VendorApp) -> dict[str, str]:
    """In the form, not as Basic: so Dexcom documents it."""
    return {"client_id": app.client_id, "client_secret": app.client_secret.reveal()}
