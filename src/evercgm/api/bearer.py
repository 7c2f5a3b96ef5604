"""A Bearer token into the claims of a person: signed by our own key, or by the Supabase project's."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from evercgm.api.jwks import LONGEST_KID, Clock, ProjectKeys
from evercgm.runtime import Runtime
from evercgm.settings import SupabaseProject
from evercgm.storage import identity
from evercgm.storage.identity import TokenRefused

PUBLIC_KEY_ALGORITHMS = ("ES256", "RS256")
SHARED_SECRET_ALGORITHM = "HS256"  # noqa: S105

# Raises TokenRefused: it proves nothing. Raises KeysUnavailable: it cannot be told at the moment.
Verify = Callable[[str], Awaitable[dict[str, Any]]]


def verifier_of(runtime: Runtime, clock: Clock = time.monotonic) -> Verify:
    """How this process verifies tokens; in neither way does it ask the database."""
    project = runtime.settings.supabase
    if project is not None:
        keys = ProjectKeys(project.url, runtime.key_server, clock)
        return lambda token: _verify_of_project(project, keys, token)

    async def verify_our_own(token: str) -> dict[str, Any]:
        return identity.verify_jwt(runtime.keys, token)

    return verify_our_own


async def _verify_of_project(project: SupabaseProject, keys: ProjectKeys, token: str) -> dict[str, Any]:
    """The key is chosen first, its algorithm is its own: the header only says what need not be tried."""
    issuer = f"{project.url}/auth/v1"
    header = identity.token_header(token)
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm == SHARED_SECRET_ALGORITHM and project.jwt_secret is not None:
        secret = project.jwt_secret.reveal().encode()
        return identity.person_claims(token, secret, SHARED_SECRET_ALGORITHM, issuer)
    if algorithm not in PUBLIC_KEY_ALGORITHMS or not isinstance(kid, str) or len(kid) > LONGEST_KID:
        raise TokenRefused("the token names no key of the project")
    found = await keys.find(kid)
    if found is None:
        raise TokenRefused("the token is not signed by a key of the project")
    return identity.person_claims(token, found.key, found.algorithm, issuer)
