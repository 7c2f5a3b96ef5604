"""What a request's headers say about the form of the answer: weights, gzip, and what the caller has already."""


def weights(header: str) -> dict[str, float]:
    """Names and their ``q`` (0 to 1) of an Accept header; one that cannot be read counts as 0."""
    found = {}
    for item in header.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        given = [text.removeprefix("q=") for text in parameters if text.startswith("q=")]
        found[name] = _weight(given[0]) if given else 1.0
    return found


def takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip may be sent: it is named or covered by ``*``, and plain is not liked better."""
    found = weights(accept_encoding)
    gzip = found.get("gzip", found.get("*", 0.0))
    return gzip > 0 and gzip >= found.get("identity", 0.0)


def has_already(if_none_match: str, tag: str) -> bool:
    """Whether ``If-None-Match`` names ``tag``, weak or strong: RFC 9110, section 13.1.2."""
    held = {item.strip().removeprefix("W/") for item in if_none_match.split(",")}
    return "*" in held or tag.removeprefix("W/") in held


def _weight(text: str) -> float:
    try:
        return float(text) if len(text) <= 5 else 0.0
    except ValueError:
        return 0.0
