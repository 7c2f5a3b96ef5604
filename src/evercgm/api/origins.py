"""Origins of addresses, compared strictly: scheme, host and port."""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
_NOT_IN_ADDRESSES = frozenset("\\\"'<>` ;,")


def origin_of(address: str) -> str | None:
    """``scheme://host[:port]`` without a default port; None where it is no plain http(s) address."""
    if not address.isascii() or not address.isprintable() or _NOT_IN_ADDRESSES & set(address):
        return None
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    plain = port is None or port == DEFAULT_PORTS[parts.scheme]
    return f"{parts.scheme}://{host}" if plain else f"{parts.scheme}://{host}:{port}"


def origins_of(addresses: Iterable[str]) -> frozenset[str]:
    """The origins of those addresses that have one."""
    return frozenset(origin for origin in map(origin_of, addresses) if origin is not None)


def with_siblings(origins: Iterable[str]) -> list[str]:
    """For a policy: the origins, and the https hosts beside them that a vendor's login may lead over."""
    found = set(origins)
    for origin in tuple(found):
        host = urlsplit(origin).hostname or ""
        if origin.startswith("https://") and host.count(".") >= 2 and not _is_ip(host):
            found.add(f"https://*.{host.partition('.')[2]}")
    return sorted(found)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
