"""What a person pastes: the address that the login ended at, or the tokens of another tool; pure."""

from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

import msgspec

from evercgm.core.errors import BadInput
from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import PASTED
from evercgm.providers.medtronic.claims import issuer_of
from evercgm.providers.medtronic.hosts import DEFAULT_PORTS, is_allowed, scheme_of

LONGEST_TEXT = 64 * 1024
LONGEST_SECRET = 16 * 1024
LONGEST_STATE, MOST_FIELDS = 512, 50
# Why something is refused, in words for the person.
REFUSALS: Mapping[str, str] = {
    "not_a_redirect": (
        "this is not the address that the sign-in ends at: it begins with com.medtronic.carepartner: and holds a code"
    ),
    "state": "this address belongs to another attempt: open the sign-in page from here once more",
    "access_denied": "the sign-in was declined at the vendor: open the sign-in page from here once more",
    "server_error": "the vendor's sign-in ended with an error: open the sign-in page from here once more",
    "not_json": "this is neither the address that the sign-in ends at nor another tool's tokens as JSON",
    "legacy_mag": "these tokens are of the login that the vendor ended in January 2026: sign in once more",
    "no_refresh_token": "these tokens would last for three hours at most: a refresh_token is needed as well",
    "scheme": "the token_url of these tokens is not encrypted (https): nothing was sent there",
    "host": "the token_url of these tokens is no login host of the vendor in this region: nothing was sent there",
    "region": "these tokens belong to another region: choose that one",
    "client": "the vendor does not know the client_id of these tokens in this region",
}


class Bundle(msgspec.Struct, frozen=True):
    """Another tool's tokens. What is None comes from discovery; ``token_url`` is an allowed address."""

    refresh: Secret
    client_id: str | None
    token_url: str | None


def refused(reason: str) -> BadInput:
    """The error for one of the reasons above."""
    return BadInput(PASTED, REFUSALS[reason])


def is_bundle(text: Secret) -> bool:
    """Whether this is to be read as tokens; else as an address."""
    pasted = text.reveal().strip()
    return pasted.startswith("{") or not scheme_of(pasted.splitlines()[0] if pasted else "").strip()


def state_of(text: Secret) -> str | None:
    """The state in an address of the vendor's app; None: a bundle, or an address of the web, where no login ends."""
    pasted = _copied(text)
    if is_bundle(text) or scheme_of(pasted) in DEFAULT_PORTS:
        return None
    try:
        found = parse_qs(urlsplit(pasted).query, max_num_fields=MOST_FIELDS).get("state", [])
    except ValueError:
        return None
    return found[0] if len(found) == 1 and 0 < len(found[0]) <= LONGEST_STATE and "\x00" not in found[0] else None


def read_code(text: Secret, state: Secret, redirect_uri: str) -> Secret:
    """The code of the address that the login ended at, as somebody copied it. Raises BadInput(pasted)."""
    pasted = _copied(text)
    if not _is_plain(pasted) or _place(pasted) is None or _place(pasted) != _place(redirect_uri):
        raise refused("not_a_redirect")
    said = parse_qs(urlsplit(pasted).query)
    if said.get("state") is None or Secret(said["state"][0]) != state:
        raise refused("state")
    if "error" in said:
        raise refused("access_denied" if said["error"][0] == "access_denied" else "server_error")
    code = said.get("code", [""])[0]
    if not _is_plain(code):
        raise refused("not_a_redirect")
    return Secret(code)


def read_bundle(text: Secret, base_url: str) -> Bundle:
    """Another tool's tokens, for the region of this base URL. Raises BadInput(pasted) with the reason."""
    said = _json(text)
    if "client_secret" in said or "mag-identifier" in said:
        raise refused("legacy_mag")
    refresh, client_id, token_url = said.get("refresh_token"), said.get("client_id"), said.get("token_url")
    if not _is_plain(refresh):
        raise refused("no_refresh_token")
    if token_url is not None:
        _refuse_foreign(str(token_url), base_url)
    access = said.get("access_token")
    issuer = issuer_of(access) if isinstance(access, str) else None
    if issuer is not None and not is_allowed(issuer, base_url):
        raise refused("region")
    if client_id is not None and not _is_plain(client_id):
        raise refused("client")
    return Bundle(Secret(str(refresh)), _text(client_id), _text(token_url))


def _refuse_foreign(token_url: str, base_url: str) -> None:
    if scheme_of(token_url) != "https" and scheme_of(base_url) == "https":
        raise refused("scheme")
    if not is_allowed(token_url, base_url):
        raise refused("host")


def _json(text: Secret) -> dict[str, object]:
    pasted = text.reveal()
    if len(pasted) > LONGEST_TEXT:
        raise refused("not_json")
    try:
        return msgspec.json.decode(pasted, type=dict[str, object])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise refused("not_json") from None


def _copied(text: Secret) -> str:
    """Without what surrounds an address where somebody copied it: quotes, brackets, the name of the header."""
    pasted = text.reveal().strip().strip("\"'<>")
    return pasted[len("location:") :].strip() if pasted.lower().startswith("location:") else pasted


def _place(address: str) -> tuple[str, str] | None:
    """Scheme and place of an app's address, however many slashes; None where it is none."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    place = f"{parts.netloc}{parts.path}".strip("/")
    return (parts.scheme, place) if parts.scheme and place else None


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_SECRET and value.isascii() and value.isprintable()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
