"""Which hosts may be called: a fixed table by region, against which every address out of a document is held."""

from urllib.parse import urlsplit

from evercgm.core.errors import OperatorMustAct

US, EU = "https://clcloud.minimed.com", "https://clcloud.minimed.eu"
# CareLink, discovery document v13, read 2026-11: readings (and discovery itself), accounts, login.
_TABLE = {
    US: (US, "https://carelink.minimed.com", "https://carelink-login.minimed.com"),
    EU: (EU, "https://carelink.minimed.eu", "https://carelink-login.minimed.eu"),
}
DEFAULT_PORTS = {"https": 443, "http": 80}


def hosts(base_url: str) -> tuple[str, ...]:
    """The base URLs that calls may go to: the vendor's of that region; of a simulator itself alone."""
    return _TABLE.get(base_url, (base_url,))


def is_allowed(url: str, base_url: str) -> bool:
    """Whether this address is on a host of the table, and names no user."""
    origin = _origin(url)
    return origin is not None and origin in {_origin(known) for known in hosts(base_url)}


def checked(url: str, base_url: str) -> str:
    """The address, if it is allowed. Raises OperatorMustAct: the vendor has moved, or we have."""
    if not is_allowed(url, base_url):
        raise OperatorMustAct("the vendor names an address outside the table of its hosts", "release")
    return url


def scheme_of(url: str) -> str:
    """The part before the colon, in lower case; empty where there is none."""
    return url.partition(":")[0].lower() if ":" in url else ""


def _origin(url: str) -> tuple[str, str, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if not parts.hostname or "@" in parts.netloc or "\\" in url:
        return None
    return parts.scheme, parts.hostname, port
