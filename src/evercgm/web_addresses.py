"""Web addresses as settings give them: their parts, and what is none."""

import ipaddress
from urllib.parse import SplitResult, urlsplit

from evercgm.core.errors import SettingsError


def origin_url(name: str, text: str) -> str:
    """A URL of scheme and host (a path is allowed, no query), without a slash at its end.

    Raises SettingsError without a part of ``text``: what stands in the wrong setting may be a secret.
    """
    parts = parts_of(text)
    if parts is None or parts.query or parts.fragment:
        raise SettingsError(f"{name} must be a URL such as https://cgm.example.org: scheme and host, no user, no query")
    return text.rstrip("/")


def parts_of(text: str) -> SplitResult | None:
    """The parts of a web address; None where it is none, names a user, or has a port that is none."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return None
    return parts if good and text.isprintable() and " " not in text else None


def is_loopback(host: str) -> bool:
    """Whether the name or address is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
