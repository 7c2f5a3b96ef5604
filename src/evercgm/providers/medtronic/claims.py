"""What an access token says of itself, if it is a JSON web token. A hint, never proof: no signature is checked."""

import base64
import binascii

import msgspec


class Claims(msgspec.Struct, frozen=True):
    """CareLink's access token, read 2026-11: end (epoch seconds), who gave it, and the account's own name."""

    exp: object = None
    iss: object = None
    token_details: object = None

    @property
    def username(self) -> str | None:
        """As the server calls the account."""
        name = self.token_details.get("preferred_username") if isinstance(self.token_details, dict) else None
        return name if isinstance(name, str) and name else None


def read_claims(token: str) -> Claims:
    """The claims; those of a token that is none are empty."""
    parts = token.split(".")
    if len(parts) != 3:
        return Claims()
    try:
        middle = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(middle, type=Claims)
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError):
        return Claims()


def issuer_of(token: str) -> str | None:
    """The address of the login that gave it."""
    issuer = read_claims(token).iss
    return issuer if isinstance(issuer, str) and issuer else None
