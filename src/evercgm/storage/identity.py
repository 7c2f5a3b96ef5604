"""Standalone identity (one-time sign-in links, sessions, web tokens of our own ES256 key), and what a token must prove.

Kept in the database, so that any number of processes share them. Tokens are stored as SHA-256 only.
"""

import base64
import hashlib
import json
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm

from evercgm.core.audit import OPERATOR
from evercgm.core.errors import BadInput, EvercgmError, NotYours
from evercgm.core.tokens import Secret
from evercgm.storage import audit
from evercgm.storage.database import Connection, Database, load_queries
from evercgm.storage.vault import Place

QUERIES = load_queries("identity.sql")
ALGORITHM = "ES256"
AUDIENCE = "authenticated"
ROLE = "authenticated"
LEEWAY = timedelta(seconds=30)
LINK_LIFETIME = timedelta(minutes=15)
SESSION_LIFETIME = timedelta(days=30)
LONGEST_JWT = 8192
VerifyingKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | bytes


class TokenRefused(EvercgmError):
    """A web token that proves nothing; the text says why and never holds the token."""


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """Our keys: ``private`` (PEM) signs under ``kid``; ``public`` by kid verifies; ``issuer`` is their iss."""

    issuer: str
    kid: str
    private: Secret
    public: Mapping[str, ec.EllipticCurvePublicKey]


def issuer_of(public_url: str) -> str:
    """The ``iss`` of our own web tokens."""
    return f"{public_url}/auth/v1"


async def load_keys(db: Database, issuer: str) -> SigningKeys:
    """The signing keys; the first is made once, however many processes start together.

    Raises SealBroken: the stored key does not open with any key of the vault's ring.
    """
    async with db.as_worker() as conn:
        await conn.execute(QUERIES["lock_keys"])
        rows = await (await conn.execute(QUERIES["signing_keys"])).fetchall()
        if not rows:
            await _make_key(conn, db)
            rows = await (await conn.execute(QUERIES["signing_keys"])).fetchall()
    private = db.vault.open(rows[0]["sealed_private"], _place(rows[0]["kid"]))
    return SigningKeys(issuer, rows[0]["kid"], private, {row["kid"]: _public(row) for row in rows})


async def _make_key(conn: Connection, db: Database) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    jwk = json.loads(ECAlgorithm.to_jwk(private.public_key()))
    kid = _thumbprint(jwk)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    sealed = db.vault.seal(Secret(pem.decode()), _place(kid))
    await conn.execute(
        QUERIES["add_signing_key"], {"kid": kid, "public_jwk": json.dumps(jwk), "sealed_private": sealed}
    )


def _place(kid: str) -> Place:
    return Place("signing_keys", "sealed_private", kid)


def _thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638: names a key by what it is."""
    text = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def _public(row: Mapping[str, Any]) -> ec.EllipticCurvePublicKey:
    key = ECAlgorithm.from_jwk(json.dumps(row["public_jwk"]))
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("a stored public key is no public EC key")
    return key


def issue_jwt(keys: SigningKeys, owner_id: str, lifetime: timedelta) -> str:
    """A Bearer token of this owner. Raises BadInput: ``owner_id`` is no UUID."""
    now = datetime.now(UTC)
    claims = {
        "iss": keys.issuer,
        "aud": AUDIENCE,
        "role": ROLE,
        "sub": _owner(owner_id),
        "iat": now,
        "exp": now + lifetime,
    }
    return jwt.encode(claims, keys.private.reveal(), algorithm=ALGORITHM, headers={"kid": keys.kid})


def verify_jwt(keys: SigningKeys, token: str) -> dict[str, Any]:
    """The claims of a token that one of our keys signed. Raises TokenRefused."""
    kid = token_header(token).get("kid")
    key = keys.public.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise TokenRefused("the token is not signed by a key of this service")
    return person_claims(token, key, ALGORITHM, keys.issuer)


def token_header(token: str) -> dict[str, Any]:
    """What a token says of itself, nothing of it proved yet. Raises TokenRefused: it is no token."""
    if len(token) > LONGEST_JWT:
        raise TokenRefused("the token is too long")
    try:
        return dict(jwt.get_unverified_header(token))
    except (jwt.PyJWTError, ValueError, TypeError) as refused:
        raise TokenRefused(type(refused).__name__) from None


def person_claims(token: str, key: VerifyingKey, algorithm: str, issuer: str) -> dict[str, Any]:
    """The claims of a token that ``key`` signed for a person, valid now (leeway 30 s). Raises TokenRefused.

    ``algorithm`` is the key's, whatever the header says; a key named or carried in the header is ignored.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=AUDIENCE,
            issuer=issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iat", "sub", "aud", "iss"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as refused:
        raise TokenRefused(type(refused).__name__) from None
    return _user_only(claims)


def _user_only(claims: dict[str, Any]) -> dict[str, Any]:
    if claims.get("role") != ROLE:
        raise TokenRefused("the token's role is not that of a person")
    if claims.get("is_anonymous") not in (None, False):
        raise TokenRefused("the token is of an anonymous user")
    try:
        subject = _owner(claims["sub"])
    except BadInput:
        raise TokenRefused("the token's subject is no UUID") from None
    if subject != claims["sub"].lower():
        raise TokenRefused("the token's subject is a UUID in an odd spelling")
    return {**claims, "sub": subject}


def session_claims(owner_id: str) -> dict[str, Any]:
    """The claims that a session stands for, as the database wants them."""
    return {"sub": owner_id, "role": ROLE, "aud": AUDIENCE}


def _owner(owner_id: str) -> str:
    try:
        return str(uuid.UUID(owner_id))
    except (ValueError, AttributeError, TypeError):
        raise BadInput("owner_id", "an owner is named by a UUID") from None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


async def sign_in_link(db: Database, owner_id: str, *, lifetime: timedelta = LINK_LIFETIME) -> str:
    """The token of a new one-time link, good for ``lifetime``. Raises BadInput: no UUID."""
    token = secrets.token_urlsafe(32)
    owner = _owner(owner_id)
    values = {"token_hash": _hash(token), "owner_id": owner, "lifetime": lifetime}
    async with db.as_worker() as conn:
        await conn.execute(QUERIES["forget_old_links"])
        await conn.execute(QUERIES["add_link"], values)
        await audit.record_for_persons(conn, OPERATOR, "sign_in_link_made", owner)
    return token


async def peek_link(db: Database, token: str) -> str:
    """Whose link it is; it stays usable. Raises NotYours: unknown, used or too old."""
    async with db.as_worker() as conn:
        row = await (await conn.execute(QUERIES["peek_link"], {"token_hash": _hash(token)})).fetchone()
    if row is None:
        raise NotYours("sign-in link")
    return str(row["owner_id"])


async def use_link(db: Database, token: str) -> str:
    """Use the link up and give the token of a new session. Raises NotYours: unknown, used or too old."""
    session = secrets.token_urlsafe(32)
    async with db.as_worker() as conn:
        row = await (await conn.execute(QUERIES["use_link"], {"token_hash": _hash(token)})).fetchone()
        if row is None:
            raise NotYours("sign-in link")
        await conn.execute(QUERIES["forget_old_sessions"])
        values = {"token_hash": _hash(session), "owner_id": row["owner_id"], "lifetime": SESSION_LIFETIME}
        await conn.execute(QUERIES["add_session"], values)
    return session


async def session_owner(db: Database, token: str) -> str | None:
    """Whose session it is, None where it is unknown or over. Each use moves its end on, by the hour."""
    values = {"token_hash": _hash(token), "lifetime": SESSION_LIFETIME}
    async with db.as_worker() as conn:
        row = await (await conn.execute(QUERIES["session_owner"], values)).fetchone()
    return None if row is None else str(row["owner_id"])


async def end_session(db: Database, token: str) -> None:
    """Sign out; an unknown token is no error."""
    async with db.as_worker() as conn:
        await conn.execute(QUERIES["end_session"], {"token_hash": _hash(token)})
