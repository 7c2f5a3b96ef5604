"""Settings: what is wrong is named, with what would be right; nothing secret is shown."""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

import pytest

from evercgm import settings as module
from evercgm.core.errors import SettingsError
from evercgm.settings import parse_key, read_settings, require_host_key, require_key

SETTINGS_PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
GOOD = secrets.token_hex(32)
OLD = secrets.token_hex(32)
BURNT = secrets.token_bytes(32)
DENIED = {"EVERCGM_DENIED_KEYS": hashlib.sha256(BURNT).hexdigest()}


@pytest.mark.parametrize(
    ("env", "name", "hint"),
    [
        ({"EVERCGM_DATADIR": "/x"}, "EVERCGM_DATADIR", "EVERCGM_DATA_DIR"),
        ({"DATABASE_URL": "mysql"}, "DATABASE_URL", "postgresql://"),
        ({"EVERCGM_PUBLIC_URL": "cgm.example.org"}, "EVERCGM_PUBLIC_URL", "https://"),
        ({"EVERCGM_LOG_LEVEL": "loud"}, "EVERCGM_LOG_LEVEL", "INFO"),
        ({"ENCRYPTION_KEY": "no key!"}, "ENCRYPTION_KEY", "64 hex digits"),
        ({"ENCRYPTION_KEY": base64.b64encode(b"x" * 31).decode()}, "ENCRYPTION_KEY", "32"),
        ({"ENCRYPTION_KEY": "00" * 32}, "ENCRYPTION_KEY", "random"),
        ({"ENCRYPTION_KEY": GOOD[:62]}, "ENCRYPTION_KEY", "holds 31 bytes"),
        ({"ENCRYPTION_KEY": GOOD + "00"}, "ENCRYPTION_KEY", "holds 33 bytes"),
        # As base64 this would be 32 bytes.
        ({"ENCRYPTION_KEY": GOOD[:43]}, "ENCRYPTION_KEY", "64 hex digits"),
        ({"ENCRYPTION_KEY": " "}, "ENCRYPTION_KEY", "holds 0 bytes"),
        ({"ENCRYPTION_KEY": base64.b64encode(bytes(32)).decode()}, "ENCRYPTION_KEY", "random"),
        ({"ENCRYPTION_KEY": "ff" * 32}, "ENCRYPTION_KEY", "random"),
        ({"ENCRYPTION_KEY": GOOD, "ENCRYPTION_KEYS_PREVIOUS": "00" * 32}, "ENCRYPTION_KEYS_PREVIOUS", "random"),
        ({"ENCRYPTION_KEY": GOOD, "ENCRYPTION_KEYS_PREVIOUS": "x"}, "ENCRYPTION_KEYS_PREVIOUS", "64 hex digits"),
        ({"ENCRYPTION_KEY": GOOD, "ENCRYPTION_KEYS_PREVIOUS": f"{OLD},{OLD}"}, "ENCRYPTION_KEYS_PREVIOUS", "twice"),
        ({"ENCRYPTION_KEY": GOOD, "ENCRYPTION_KEYS_PREVIOUS": GOOD.upper()}, "ENCRYPTION_KEYS_PREVIOUS", "twice"),
        (
            {"ENCRYPTION_KEY": GOOD, "ENCRYPTION_KEYS_PREVIOUS": base64.b64encode(bytes.fromhex(GOOD)).decode()},
            "ENCRYPTION_KEYS_PREVIOUS",
            "twice",
        ),
        ({"ENCRYPTION_KEYS_PREVIOUS": GOOD}, "ENCRYPTION_KEYS_PREVIOUS", "ENCRYPTION_KEY"),
        ({"ENCRYPTION_KEY": "", "ENCRYPTION_KEYS_PREVIOUS": GOOD}, "ENCRYPTION_KEYS_PREVIOUS", "ENCRYPTION_KEY"),
        ({"ENCRYPTION_KEY": GOOD, "ENCRYPTION_KEYS_PREVIOUS": GOOD}, "ENCRYPTION_KEYS_PREVIOUS", "twice"),
        ({**DENIED, "ENCRYPTION_KEY": BURNT.hex()}, "ENCRYPTION_KEY", "make a new one"),
        (
            {**DENIED, "ENCRYPTION_KEY": GOOD, "ENCRYPTION_KEYS_PREVIOUS": BURNT.hex()},
            "ENCRYPTION_KEYS_PREVIOUS",
            "new",
        ),
        ({**DENIED, "EVERCGM_HOST_ENCRYPTION_KEY": BURNT.hex()}, "EVERCGM_HOST_ENCRYPTION_KEY", "keys rekey-leaked"),
        ({"EVERCGM_HOST_ENCRYPTION_KEY": "no key!"}, "EVERCGM_HOST_ENCRYPTION_KEY", "64 hex digits"),
        ({"EVERCGM_DENIED_KEYS": f"{GOOD},x"}, "EVERCGM_DENIED_KEYS", "entry 2"),
        ({"EVERCGM_DENIED_KEYS": "ab" * 31}, "EVERCGM_DENIED_KEYS", "64 hex digits"),
        ({"DEXCOM_CLIENT_ID": "id"}, "DEXCOM_CLIENT_SECRET", "go together"),
        ({"DEXCOM_EU_CLIENT_SECRET": "s"}, "DEXCOM_EU_CLIENT_ID", "go together"),
        ({"EVERCGM_VENDOR_BASE_URLS": "{}"}, "EVERCGM_VENDOR_BASE_URLS", "EVERCGM_ALLOW_SIMULATORS"),
        (
            {"EVERCGM_VENDOR_BASE_URLS": "[1]", "EVERCGM_ALLOW_SIMULATORS": "1"},
            "EVERCGM_VENDOR_BASE_URLS",
            "must be JSON",
        ),
        ({"EVERCGM_RETURN_ORIGINS": "javascript:1"}, "EVERCGM_RETURN_ORIGINS", "must be a URL"),
        ({"EVERCGM_ALLOWED_ORIGINS": "app.example.org"}, "EVERCGM_ALLOWED_ORIGINS", "must be a URL"),
        ({"EVERCGM_METRICS_TOKEN": "short"}, "EVERCGM_METRICS_TOKEN", "openssl rand"),
        ({"EVERCGM_METRICS_TOKEN": "with a blank " * 3}, "EVERCGM_METRICS_TOKEN", "without blanks"),
        ({"EVERCGM_METRICS_TOKEN": "ö" * 20}, "EVERCGM_METRICS_TOKEN", "without blanks"),
        ({"EVERCGM_METRICS_PORT": "metrics"}, "EVERCGM_METRICS_PORT", "9464"),
        ({"EVERCGM_METRICS_PORT": "0"}, "EVERCGM_METRICS_PORT", "9464"),
        ({"EVERCGM_METRICS_PORT": "65536"}, "EVERCGM_METRICS_PORT", "9464"),
        ({"EVERCGM_METRICS_PORT": "-9464"}, "EVERCGM_METRICS_PORT", "9464"),
        ({"EVERCGM_METRICS_PORT": "10.0.0.5:"}, "EVERCGM_METRICS_PORT", "9464"),
        ({"EVERCGM_METRICS_PORT": "10.0.0.5:9464"}, "EVERCGM_METRICS_PORT", "set EVERCGM_METRICS_TOKEN as well"),
        ({"EVERCGM_METRICS_PORT": "[::]:9464"}, "EVERCGM_METRICS_PORT", "set EVERCGM_METRICS_TOKEN as well"),
        ({"SUPABASE_URL": "abc.supabase.co"}, "SUPABASE_URL", "must be a URL"),
        ({"SUPABASE_URL": "https://user:x@abc.supabase.co"}, "SUPABASE_URL", "no user"),
        ({"SUPABASE_URL": "https://abc.supabase.co:99999"}, "SUPABASE_URL", "must be a URL"),
        ({"SUPABASE_URL": "https://abc.süpabase.co"}, "SUPABASE_URL", "plain address"),
        ({"SUPABASE_URL": "https://abc.supabase.co/auth/v1"}, "SUPABASE_URL", "must end before /auth/v1"),
        ({"SUPABASE_URL": "http://127.0.0.1:54321"}, "SUPABASE_URL", "EVERCGM_ALLOW_SIMULATORS=1"),
        ({"SUPABASE_URL": "http://10.0.0.1", "EVERCGM_ALLOW_SIMULATORS": "1"}, "SUPABASE_URL", "https://"),
        ({"SUPABASE_JWT_SECRET": "s" * 40}, "SUPABASE_JWT_SECRET", "without SUPABASE_URL"),
        ({"SUPABASE_URL": "https://abc.supabase.co", "SUPABASE_JWT_SECRET": "s"}, "SUPABASE_JWT_SECRET", "shorter"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(env: dict[str, str], name: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(env)

    assert name in str(caught.value)
    assert hint in str(caught.value)


# What an operator may paste into the wrong line, and what else no reader of addresses takes.
MISPLACED = (
    "postgresql://u:marked-password@marked-host/marked",
    "postgres://u:marked%zzpassword@marked-host/marked",
    "host=marked-host dbname=marked password=marked-password",
)
NO_ADDRESSES = (
    *MISPLACED,
    "https://u:marked-password@marked-host",
    "https://marked-user@marked-host",
    "https://[marked-host/",
    "https://marked\u2100host/",
    "https://marked-host:marked/",
    "https://marked-host:99999/",
    "https://marked-host/?marked",
    "https://marked-host/#marked",
    "https://marked host/",
    "https:///marked",
    "marked",
)
PAIRS = {name: pair for pair in module.DEXCOM_CREDENTIALS.values() for name in pair}
FREE_TEXTS = ("EVERCGM_DATA_DIR", "EVERCGM_ENVIRONMENTS", "SUPABASE_JWT_SECRET", "EVERCGM_METRICS_TOKEN", *PAIRS)
WORDS = ("EVERCGM_LOG_LEVEL", "EVERCGM_METRICS_PORT", "EVERCGM_UNOFFICIAL", "EVERCGM_APP_VERSIONS")
ADDRESSES = (
    "EVERCGM_PUBLIC_URL",
    "SUPABASE_URL",
    "DEXCOM_REDIRECT_URI",
    "EVERCGM_RETURN_ORIGINS",
    "EVERCGM_ALLOWED_ORIGINS",
    "EVERCGM_VENDOR_BASE_URLS",
)
KEYS = ("ENCRYPTION_KEY", "ENCRYPTION_KEYS_PREVIOUS", "EVERCGM_HOST_ENCRYPTION_KEY", "EVERCGM_DENIED_KEYS")


def with_one(name: str, value: str) -> dict[str, str]:
    """Settings that are good but for this one."""
    beside = {"ENCRYPTION_KEY": GOOD, "EVERCGM_ALLOW_SIMULATORS": "1"}
    beside |= {"SUPABASE_URL": "https://abc.supabase.co"} if name.startswith("SUPABASE") else {}
    beside |= dict.fromkeys(PAIRS.get(name, ()), "registered")
    as_json = name == "EVERCGM_VENDOR_BASE_URLS"
    return {**beside, name: json.dumps({"dexcom": {"us": value}}) if as_json else value}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in (*FREE_TEXTS, *KEYS, *WORDS) for value in MISPLACED),
        *((name, value) for name in ADDRESSES for value in NO_ADDRESSES if "?" not in value or "REDIRECT" not in name),
    ],
)
def test_what_stands_in_the_wrong_setting_is_refused_and_never_repeated(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(with_one(name, value))

    assert str(refused.value).startswith(name)
    assert " must be " in str(refused.value) or "64 hex digits" in str(refused.value)
    assert "marked" not in str(refused.value)


@pytest.mark.parametrize(
    "value", [*MISPLACED, "marked", '{"marked": 1}', '{"dexcom": ["marked"]}', '{"a": {"marked": 5}}']
)
def test_base_urls_that_are_no_json_of_addresses_are_not_repeated(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^EVERCGM_VENDOR_BASE_URLS must be") as refused:
        read_settings({"EVERCGM_VENDOR_BASE_URLS": value, "EVERCGM_ALLOW_SIMULATORS": "1"})

    assert "marked" not in str(refused.value)


def test_the_end_of_a_projects_address_is_not_repeated() -> None:
    for path in ("auth/v1", "rest/v1"):
        with pytest.raises(SettingsError, match=f"must end before /{path}") as refused:
            read_settings({"SUPABASE_URL": f"https://abc.supabase.co/marked/{path}/marked"})

        assert "marked" not in str(refused.value)


def test_no_setting_is_left_out_of_that_table() -> None:
    """The three that hold a database's address are read by the driver; the switch takes nothing but 1."""
    elsewhere = {"DATABASE_URL", "MIGRATION_DATABASE_URL", "WORKER_DATABASE_URL", "EVERCGM_ALLOW_SIMULATORS"}
    settings = re.findall(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \|", SETTINGS_PAGE.read_text(), re.MULTILINE)
    named = {name for names in settings for name in re.findall("[A-Z_]+", names)}

    assert named == elsewhere | {*FREE_TEXTS, *ADDRESSES, *KEYS, *WORDS}


def test_a_registered_callback_may_have_a_query() -> None:
    callback = "https://app.example.org/back?of=cgm"

    assert read_settings({"DEXCOM_REDIRECT_URI": callback}).dexcom_redirect_uri == callback


def test_a_key_is_read_from_hex_and_from_both_kinds_of_base64() -> None:
    raw = secrets.token_bytes(32)

    forms = [raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()]

    assert [parse_key("ENCRYPTION_KEY", form) for form in forms] == [raw] * 4


@pytest.mark.parametrize("name", ["ENCRYPTION_KEY", "EVERCGM_HOST_ENCRYPTION_KEY"])
def test_a_denied_key_is_refused_in_every_form(name: str) -> None:
    for form in (BURNT.hex(), BURNT.hex().upper(), f" {base64.b64encode(BURNT).decode()} "):
        with pytest.raises(SettingsError, match=f"^{name} is a key that has been published") as refused:
            read_settings({**DENIED, name: form})

        assert BURNT.hex() not in str(refused.value).lower()


@pytest.mark.parametrize("text", ["{}", " {} ,", "{},{}", "00{},{}"])
def test_the_deny_list_is_read_with_blanks_and_in_either_case(text: str) -> None:
    burnt = hashlib.sha256(BURNT).hexdigest().upper()
    listed = text.replace("00{}", "00" * 32).replace("{}", burnt)

    with pytest.raises(SettingsError, match="ENCRYPTION_KEY is a key"):
        read_settings({"EVERCGM_DENIED_KEYS": listed, "ENCRYPTION_KEY": BURNT.hex()})


@pytest.mark.parametrize("leaked_host_key", [False, True])
@pytest.mark.parametrize("listed", [OLD, OLD.upper(), f"{'00' * 32}, {OLD}"], ids=["alone", "upper case", "second"])
@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("ENCRYPTION_KEY", {"ENCRYPTION_KEY": OLD}),
        ("ENCRYPTION_KEY", {"ENCRYPTION_KEY": base64.b64encode(bytes.fromhex(OLD)).decode()}),
        ("ENCRYPTION_KEYS_PREVIOUS", {"ENCRYPTION_KEY": GOOD, "ENCRYPTION_KEYS_PREVIOUS": OLD}),
        ("EVERCGM_HOST_ENCRYPTION_KEY", {"ENCRYPTION_KEY": GOOD, "EVERCGM_HOST_ENCRYPTION_KEY": OLD}),
        # The fingerprint became the key, and the key its fingerprint.
        ("ENCRYPTION_KEY", {"ENCRYPTION_KEY": hashlib.sha256(bytes.fromhex(OLD)).hexdigest()}),
    ],
)
def test_a_key_on_the_deny_list_in_place_of_its_fingerprint_is_refused(
    name: str, env: Mapping[str, str], listed: str, leaked_host_key: bool
) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({**env, "EVERCGM_DENIED_KEYS": listed}, leaked_host_key=leaked_host_key)

    text = str(refused.value)
    assert text.startswith(f"EVERCGM_DENIED_KEYS holds a key itself (see {name}): ")
    assert "SHA-256" in text
    for value in (OLD, env[name]):
        assert value.lower() not in text.lower()


@pytest.mark.parametrize("env", [DENIED, {}])
def test_only_a_host_key_may_be_a_denied_one_and_only_where_that_is_said(env: Mapping[str, str]) -> None:
    given = {**env, "EVERCGM_HOST_ENCRYPTION_KEY": BURNT.hex()}

    assert require_host_key(read_settings(given, leaked_host_key=True)) == BURNT
    with pytest.raises(SettingsError, match=r"^ENCRYPTION_KEY is a key"):
        read_settings({**DENIED, "ENCRYPTION_KEY": BURNT.hex()}, leaked_host_key=True)


def test_the_deny_list_holds_the_two_fingerprints_of_the_shared_page() -> None:
    fingerprints = {fingerprint.hex()[:8] for fingerprint in module.PUBLISHED_KEYS}

    assert fingerprints == {"c05bad17", "865b130b"}
    assert read_settings(DENIED).denied_keys == module.PUBLISHED_KEYS | {hashlib.sha256(BURNT).digest()}


def test_without_a_key_the_service_does_not_start() -> None:
    with pytest.raises(SettingsError, match="ENCRYPTION_KEY is not set"):
        require_key(read_settings({}))


def test_no_secret_shows_in_the_settings_text() -> None:
    settings = read_settings(
        {
            "ENCRYPTION_KEY": GOOD,
            "EVERCGM_HOST_ENCRYPTION_KEY": BURNT.hex(),
            "DATABASE_URL": "postgresql://u:hidden-password@h/d",
            "DEXCOM_CLIENT_ID": "id",
            "DEXCOM_CLIENT_SECRET": "hidden-secret",
            "EVERCGM_METRICS_TOKEN": "hidden-metrics-token",
        }
    )

    text = f"{settings!r} {settings} {settings.dexcom} {settings.database_url!r} {settings.metrics_token!r}"

    assert "hidden" not in text
    assert GOOD not in text
    assert BURNT.hex() not in text


@pytest.mark.parametrize("host", ["127.0.0.1:54321", "localhost:54321", "[::1]:54321"])
def test_a_project_on_this_machine_may_speak_http_beside_simulators(host: str) -> None:
    found = read_settings({"SUPABASE_URL": f"http://{host}/", "EVERCGM_ALLOW_SIMULATORS": "1"}).supabase

    assert found is not None
    assert found.url == f"http://{host}"
    assert found.jwt_secret is None


def test_without_a_project_we_are_our_own_identity() -> None:
    project = read_settings({"SUPABASE_URL": "https://ABC.supabase.co/", "SUPABASE_JWT_SECRET": "hidden" * 6}).supabase

    assert read_settings({}).supabase is None
    assert project is not None
    assert project.url == "https://abc.supabase.co"
    assert "hidden" not in repr(project)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("9464", ("127.0.0.1", 9464)),
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:9464", ("::1", 9464)),
        ("0.0.0.0:9464", ("0.0.0.0", 9464)),
        ("", None),
    ],
)
def test_the_port_for_metrics_is_of_this_machine_unless_an_address_is_given(
    text: str, where: tuple[str, int] | None
) -> None:
    env = {"EVERCGM_METRICS_PORT": text, "EVERCGM_METRICS_TOKEN": "x" * 16 if text.startswith("0") else ""}

    assert read_settings(env).metrics_port == where


def test_every_setting_stands_on_the_page() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "settings.md").read_text()

    assert [name for name in sorted(module.NAMES) if f"| `{name}` |" not in page] == []


def test_the_file_of_environments_may_lie_elsewhere() -> None:
    assert str(read_settings({}).environments) == "evercgm.toml"
    assert str(read_settings({"EVERCGM_ENVIRONMENTS": "/etc/cgm.toml"}).environments) == "/etc/cgm.toml"
