"""Every environment variable, typed, read once. Secrets are held as Secret and never printed."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from evercgm.core.errors import SettingsError, is_version
from evercgm.core.tokens import Secret
from evercgm.web_addresses import is_loopback, origin_url, parts_of

KEY_BYTES = 32
_HEX = re.compile(r"[0-9a-fA-F]*")
# SHA-256 of keys that count as public (database facts, 3.1): the one printed in the report of
# October 2025, and the host app's development fallback. Never the keys themselves. In base64, so
# that no 64 hex digits in a row stand in this tree.
PUBLISHED_KEYS = frozenset(
    base64.b64decode(text)
    for text in (
        "wFutF/IqlLxngkLmA3qmzqNcj24eTazpw/WOFzmtfjM=",
        "hlsTC4H400W8GJl4r8mR6ibAmKyyVKzj1QMLKTScpHI=",
    )
)
HOST_KEY = "EVERCGM_HOST_ENCRYPTION_KEY"
DENIED_KEYS = "EVERCGM_DENIED_KEYS"
METRICS_TOKEN = "EVERCGM_METRICS_TOKEN"  # noqa: S105
METRICS_PORT = "EVERCGM_METRICS_PORT"
UNOFFICIAL = "EVERCGM_UNOFFICIAL"
APP_VERSIONS = "EVERCGM_APP_VERSIONS"
# Ways in that their vendors do not offer to others: the operator's decision, one by one.
UNOFFICIAL_ROUTES = ("dexcom_share", "libre", "medtronic")
NAMES = frozenset(
    {
        "EVERCGM_DATA_DIR",
        "EVERCGM_PUBLIC_URL",
        HOST_KEY,
        DENIED_KEYS,
        "EVERCGM_LOG_LEVEL",
        METRICS_TOKEN,
        METRICS_PORT,
        UNOFFICIAL,
        APP_VERSIONS,
        "EVERCGM_VENDOR_BASE_URLS",
        "EVERCGM_ALLOW_SIMULATORS",
        "EVERCGM_RETURN_ORIGINS",
        "EVERCGM_ALLOWED_ORIGINS",
        "EVERCGM_ENVIRONMENTS",
    }
)
# Below 32 bytes an HS256 secret can be guessed; Supabase's own are longer.
SHORTEST_JWT_SECRET, SHORTEST_METRICS_TOKEN = 32, 16
_FINGERPRINT = re.compile(r"[0-9a-fA-F]{64}")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
# Which variables hold the credentials of a Dexcom region (US and the sandbox share one registration).
DEXCOM_CREDENTIALS = {
    "us": ("DEXCOM_CLIENT_ID", "DEXCOM_CLIENT_SECRET"),
    "sandbox": ("DEXCOM_CLIENT_ID", "DEXCOM_CLIENT_SECRET"),
    "eu": ("DEXCOM_EU_CLIENT_ID", "DEXCOM_EU_CLIENT_SECRET"),
    "jp": ("DEXCOM_JP_CLIENT_ID", "DEXCOM_JP_CLIENT_SECRET"),
}
# Settings that take any text, and what it must be: a database's address in one of them would be sent or shown.
FREE_TEXTS = {
    "EVERCGM_DATA_DIR": "a folder",
    "EVERCGM_ENVIRONMENTS": "a file",
    "SUPABASE_JWT_SECRET": "the project's legacy secret",
    METRICS_TOKEN: "a random text",
    **{name: "as the vendor's developer page shows it" for pair in DEXCOM_CREDENTIALS.values() for name in pair},
}
_DATABASE_ADDRESS = re.compile(r"postgres(ql)?:/|(?<![\w-])(password|passfile|hostaddr|dbname)\s*=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Our registration at a vendor, in one region."""

    client_id: str
    client_secret: Secret


@dataclass(frozen=True, slots=True)
class SupabaseProject:
    """Whose users are our callers. ``jwt_secret`` is the legacy shared one, None where tokens of it are refused."""

    url: str
    jwt_secret: Secret | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says. DSNs are Secrets: they hold passwords. URLs have no slash at the end.

    ``supabase`` None is standalone mode: we are our own identity.
    """

    database_url: Secret | None
    migration_database_url: Secret | None
    worker_database_url: Secret | None
    data_dir: Path
    public_url: str
    keys: tuple[bytes, ...]
    host_key: bytes | None
    # SHA-256 of keys that may never be used.
    denied_keys: frozenset[bytes]
    log_level: str
    dexcom: Mapping[str, Credentials]
    dexcom_redirect_uri: str
    vendor_base_urls: Mapping[str, Mapping[str, str]]
    return_origins: frozenset[str]
    allowed_origins: frozenset[str]
    supabase: SupabaseProject | None = None
    # The file that names an app's databases, for the ``db`` commands; it need not be there.
    environments: Path = Path("evercgm.toml")
    # Who may read /metrics of the service; None: nobody.
    metrics_token: Secret | None = None
    # Where metrics are told besides: host and port.
    metrics_port: tuple[str, int] | None = None
    # Ways in that are offered although their vendors do not offer them.
    unofficial: frozenset[str] = frozenset()
    # As which version of the vendor's own app such a way in presents itself, by route.
    app_versions: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Settings(public_url={self.public_url!r}, data_dir={str(self.data_dir)!r})"


def read_settings(env: Mapping[str, str], *, simulators: bool = False, leaked_host_key: bool = False) -> Settings:
    """Read and check them all. ``simulators`` allows vendor base URLs (demo and tests).

    ``leaked_host_key``: the host app's key may be a denied one, for the command that takes its tokens from under it.

    Raises SettingsError: names the setting and says what would be right.
    """
    _refuse_unknown(env)
    _refuse_misplaced(env)
    public_url = origin_url("EVERCGM_PUBLIC_URL", env.get("EVERCGM_PUBLIC_URL") or "http://127.0.0.1:8400")
    callback = f"{public_url}/api/metabolic/cgm/dexcom/callback"
    denied = _denied_keys(env)
    return Settings(
        database_url=_dsn(env, "DATABASE_URL"),
        migration_database_url=_dsn(env, "MIGRATION_DATABASE_URL"),
        worker_database_url=_dsn(env, "WORKER_DATABASE_URL"),
        data_dir=Path(env.get("EVERCGM_DATA_DIR") or "~/.local/share/evercgm").expanduser(),
        public_url=public_url,
        keys=_keys(env, denied),
        host_key=_host_key(env, denied, leaked_host_key),
        denied_keys=denied,
        log_level=_log_level(env),
        dexcom=_dexcom(env),
        dexcom_redirect_uri=_redirect_uri(env) or callback,
        vendor_base_urls=_vendor_base_urls(env, simulators),
        return_origins=_origins(env, "EVERCGM_RETURN_ORIGINS", public_url),
        allowed_origins=_origins(env, "EVERCGM_ALLOWED_ORIGINS", public_url),
        supabase=_supabase(env, simulators),
        environments=Path(env.get("EVERCGM_ENVIRONMENTS") or "evercgm.toml").expanduser(),
        metrics_token=_metrics_token(env),
        metrics_port=_metrics_port(env),
        unofficial=_unofficial(env),
        app_versions=_app_versions(env),
    )


def require_key(settings: Settings) -> tuple[bytes, ...]:
    """The key ring, primary first. Raises SettingsError where there is none."""
    if not settings.keys:
        beside = "" if settings.database_url is None else "; beside DATABASE_URL none of the data directory is used"
        raise SettingsError(f"ENCRYPTION_KEY is not set: give 32 random bytes as 64 hex digits or base64{beside}")
    return settings.keys


def require_host_key(settings: Settings) -> bytes:
    """The host app's key. Raises SettingsError where there is none."""
    if settings.host_key is None:
        raise SettingsError(f"{HOST_KEY} is not set: it opens the tokens that the host app sealed")
    return settings.host_key


def fingerprint(key: bytes) -> bytes:
    """How a key is named on the deny-list: its SHA-256, so that the list tells nothing of it."""
    return hashlib.sha256(key).digest()


def parse_key(name: str, text: str, denied: Set[bytes] = PUBLISHED_KEYS, *, leaked: bool = False) -> bytes:
    """32 bytes from 64 hex digits or base64. Raises SettingsError: wrong form, length, weak or denied key.

    ``leaked``: a denied one is taken. A key that stands on the deny-list itself, unhashed, never is.
    """
    text = text.strip()
    # Hex digits of another count are a key that was cut, not base64: their bytes are told, and none is taken for 32.
    try:
        raw = bytes.fromhex(text) if _HEX.fullmatch(text) else _from_base64(text)
    except (ValueError, binascii.Error):
        raise SettingsError(f"{name} is neither 64 hex digits nor base64 of 32 bytes") from None
    if len(raw) != KEY_BYTES:
        raise SettingsError(f"{name} holds {len(raw)} bytes; it must be exactly 32 random bytes")
    if len(set(raw)) == 1:
        raise SettingsError(f"{name} is one byte repeated; make a random one, for example: openssl rand -hex 32")
    if raw in denied or any(fingerprint(listed) == raw for listed in denied):
        raise SettingsError(f"{DENIED_KEYS} holds a key itself (see {name}): it takes the SHA-256 of its 32 bytes")
    if fingerprint(raw) in denied and not leaked:
        raise SettingsError(f"{name} is a key that has been published or that {DENIED_KEYS} names; {_instead(name)}")
    return raw


def _instead(name: str) -> str:
    if name == HOST_KEY:
        return "only `evercgm keys rekey-leaked` takes it"
    return "make a new one: openssl rand -hex 32"


def _from_base64(text: str) -> bytes:
    padded = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)


def _refuse_unknown(env: Mapping[str, str]) -> None:
    unknown = sorted(name for name in env if name.startswith("EVERCGM_") and name not in NAMES)
    if unknown:
        raise SettingsError(f"{unknown[0]} is no setting of evercgm; known: {', '.join(sorted(NAMES))}")


def _refuse_misplaced(env: Mapping[str, str]) -> None:
    for name, right in FREE_TEXTS.items():
        if _DATABASE_ADDRESS.search(env.get(name, "")):
            raise SettingsError(f"{name} must be {right}; the address of a database belongs into DATABASE_URL")


def _dsn(env: Mapping[str, str], name: str) -> Secret | None:
    text = env.get(name)
    if not text:
        return None
    if not text.startswith(("postgresql://", "postgres://")) and "=" not in text:
        raise SettingsError(f"{name} must be a PostgreSQL address such as postgresql://user@host/database")
    return Secret(text)


def _keys(env: Mapping[str, str], denied: Set[bytes]) -> tuple[bytes, ...]:
    primary = env.get("ENCRYPTION_KEY", "")
    previous = [text for text in env.get("ENCRYPTION_KEYS_PREVIOUS", "").split(",") if text.strip()]
    if not primary:
        if previous:
            raise SettingsError("ENCRYPTION_KEYS_PREVIOUS is set without ENCRYPTION_KEY, which seals new tokens")
        return ()
    keys = [parse_key("ENCRYPTION_KEY", primary, denied)]
    keys += [parse_key("ENCRYPTION_KEYS_PREVIOUS", text, denied) for text in previous]
    if len(set(keys)) != len(keys):
        raise SettingsError("ENCRYPTION_KEYS_PREVIOUS holds a key twice, or the one of ENCRYPTION_KEY")
    return tuple(keys)


def _host_key(env: Mapping[str, str], denied: Set[bytes], leaked: bool) -> bytes | None:
    text = env.get(HOST_KEY)
    return parse_key(HOST_KEY, text, denied, leaked=leaked) if text else None


def _denied_keys(env: Mapping[str, str]) -> frozenset[bytes]:
    """The published ones, and those that the operator has burnt."""
    texts = [text.strip() for text in env.get(DENIED_KEYS, "").split(",") if text.strip()]
    for number, text in enumerate(texts, 1):
        if not _FINGERPRINT.fullmatch(text):
            raise SettingsError(f"{DENIED_KEYS}: entry {number} is not 64 hex digits, the SHA-256 of a key's 32 bytes")
    return PUBLISHED_KEYS | {bytes.fromhex(text) for text in texts}


def _log_level(env: Mapping[str, str]) -> str:
    level = env.get("EVERCGM_LOG_LEVEL", "INFO").upper()
    if level not in LOG_LEVELS:
        raise SettingsError(f"EVERCGM_LOG_LEVEL must be one of {', '.join(LOG_LEVELS)}")
    return level


def _metrics_token(env: Mapping[str, str]) -> Secret | None:
    token = env.get(METRICS_TOKEN, "")
    if token and (len(token) < SHORTEST_METRICS_TOKEN or not (token.isascii() and token.isprintable()) or " " in token):
        raise SettingsError(
            f"{METRICS_TOKEN} must be {SHORTEST_METRICS_TOKEN} or more characters without blanks: openssl rand -hex 32"
        )
    return Secret(token) if token else None


def _metrics_port(env: Mapping[str, str]) -> tuple[str, int] | None:
    """A port of this machine alone, unless an address stands before it; others than ourselves need the token."""
    text = env.get(METRICS_PORT, "")
    if not text:
        return None
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise SettingsError(f"{METRICS_PORT} must be a port such as 9464, or address:port such as 10.0.0.5:9464")
    if not is_loopback(host) and not env.get(METRICS_TOKEN):
        raise SettingsError(f"{METRICS_PORT} beyond this machine can be read by others: set {METRICS_TOKEN} as well")
    return host, int(port)


def _dexcom(env: Mapping[str, str]) -> dict[str, Credentials]:
    found: dict[str, Credentials] = {}
    for region, (id_name, secret_name) in DEXCOM_CREDENTIALS.items():
        client_id, client_secret = env.get(id_name), env.get(secret_name)
        if bool(client_id) != bool(client_secret):
            missing = secret_name if client_id else id_name
            raise SettingsError(f"{missing} is not set: {id_name} and {secret_name} go together")
        if client_id and client_secret:
            found[region] = Credentials(client_id, Secret(client_secret))
    return found


def _unofficial(env: Mapping[str, str]) -> frozenset[str]:
    named = [text.strip() for text in env.get(UNOFFICIAL, "").split(",") if text.strip()]
    for number, route in enumerate(named, 1):
        if route not in UNOFFICIAL_ROUTES:
            raise SettingsError(f"{UNOFFICIAL}: entry {number} must be one of {', '.join(UNOFFICIAL_ROUTES)}")
    return frozenset(named)


def _app_versions(env: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    named = [text.strip() for text in env.get(APP_VERSIONS, "").split(",") if text.strip()]
    for number, text in enumerate(named, 1):
        route, _, version = (part.strip() for part in text.partition("="))
        if route not in UNOFFICIAL_ROUTES or not is_version(version):
            raise SettingsError(f"{APP_VERSIONS}: entry {number} must be such as libre=4.16.0")
        found[route] = version
    return found


def _redirect_uri(env: Mapping[str, str]) -> str | None:
    """As it is registered, to the letter; it may have a query."""
    name = "DEXCOM_REDIRECT_URI"
    text = env.get(name)
    if text and ((parts := parts_of(text)) is None or parts.fragment):
        raise SettingsError(f"{name} must be the URL of a callback as it is registered: https, host, path, no user")
    return text


def _supabase(env: Mapping[str, str], simulators: bool) -> SupabaseProject | None:
    url, secret = env.get("SUPABASE_URL"), env.get("SUPABASE_JWT_SECRET")
    if not url:
        if secret:
            raise SettingsError("SUPABASE_JWT_SECRET is set without SUPABASE_URL, which says whose tokens they are")
        return None
    if secret and len(secret.encode()) < SHORTEST_JWT_SECRET:
        raise SettingsError(f"SUPABASE_JWT_SECRET is shorter than {SHORTEST_JWT_SECRET} bytes; copy the whole of it")
    plain_http = simulators or env.get("EVERCGM_ALLOW_SIMULATORS") == "1"
    return SupabaseProject(_project_url(url, plain_http), Secret(secret) if secret else None)


def _project_url(text: str, plain_http: bool) -> str:
    """The project's address as its tokens name it: lower-case host, nothing after the path."""
    name = "SUPABASE_URL"
    url = origin_url(name, text)
    parts = urlsplit(url)
    if not url.isascii():
        raise SettingsError(f"{name} must be the project's plain address such as https://abc.supabase.co")
    for end in ("/auth/v1", "/rest/v1"):
        if end in parts.path:
            raise SettingsError(f"{name} must end before {end}: the project's address alone")
    if parts.scheme == "http" and not (plain_http and is_loopback(parts.hostname or "")):
        raise SettingsError(
            f"{name} must begin with https:// (http only on this machine itself, with EVERCGM_ALLOW_SIMULATORS=1)"
        )
    return parts._replace(netloc=parts.netloc.lower()).geturl()


def _vendor_base_urls(env: Mapping[str, str], simulators: bool) -> dict[str, dict[str, str]]:
    name = "EVERCGM_VENDOR_BASE_URLS"
    text = env.get(name)
    if not text:
        return {}
    if not simulators and env.get("EVERCGM_ALLOW_SIMULATORS") != "1":
        raise SettingsError(f"{name} is for simulators; set EVERCGM_ALLOW_SIMULATORS=1 if that is meant")
    try:
        parsed = json.loads(text)
        return {
            route: {region: _simulator_url(name, url) for region, url in regions.items()}
            for route, regions in parsed.items()
        }
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise SettingsError(f'{name} must be JSON such as {{"dexcom": {{"us": "http://host/path"}}}}') from None


def _simulator_url(name: str, text: str) -> str:
    url = origin_url(name, text)
    if url.startswith("http:") and not is_loopback(urlsplit(url).hostname or ""):
        raise SettingsError(f"{name} must begin with https:// (http only on this machine itself, as http://127.0.0.1)")
    return url


def _origins(env: Mapping[str, str], name: str, public_url: str) -> frozenset[str]:
    texts = [text.strip() for text in env.get(name, "").split(",") if text.strip()] or [public_url]
    return frozenset(_origin(name, text) for text in texts)


def _origin(name: str, text: str) -> str:
    parts = urlsplit(origin_url(name, text))
    return f"{parts.scheme}://{parts.netloc}"
