"""Sign-ins at a vendor that are under way: hashes of what the browser holds, each used once."""

import hashlib
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime

import msgspec

from evercgm.core.tokens import NO_SECRET, Secret, Tokens
from evercgm.storage.database import Connection, Row, load_queries
from evercgm.storage.vault import Place, Vault

QUERIES = load_queries("attempts.sql")
LIFETIME_S = 600
# What works once was used up for these: they outlast a vendor's stumble, and their access token.
UNSETTLED_LIFETIME_S = 3600
MOST_OF_A_PERSON = 20
RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that came back: for whom, where, since when (aware UTC), and the PKCE verifier."""

    person_id: str
    owner_id: str
    route: str
    region: str
    return_to: str | None
    began_at: datetime
    verifier: Secret


@dataclass(frozen=True, slots=True)
class Bound:
    """What the browser takes along: the vendor's ``state``, our binding cookie, and the PKCE verifier."""

    state: str
    binding: str
    verifier: Secret


@dataclass(frozen=True, slots=True)
class Waiting:
    """A fresh pair that waits for the person's word; ``account_id`` None: the vendor did not tell it.

    ``choices``: it is good for each of these people, by their ids at the vendor, and waits for the choice of one.
    ``pasted``: it was made of this text, and waits for the vendor to tell whose it is; see ``look_pasted``.
    """

    person_id: str
    route: str
    region: str
    account_id: str | None
    tokens: Tokens
    choices: tuple[str, ...] = ()
    pasted: Secret = NO_SECRET

    @property
    def unfinished(self) -> bool:
        """Whether a yes is not enough to store it."""
        return bool(self.choices or self.pasted)


class _Unfinished(msgspec.Struct, frozen=True):
    """What is sealed as the access token of a pair that waits for a choice: who may be chosen is nobody's to read."""

    access: str
    choices: tuple[str, ...]


def fingerprint(text: str) -> bytes:
    """SHA-256: what is stored of a random text that somebody else holds."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _verifier_place(attempt_id: str) -> Place:
    return Place("oauth_attempts", "pkce_verifier", attempt_id)


def _access_place(attempt_id: str) -> Place:
    return Place("oauth_attempts", "sealed_access", attempt_id)


def _refresh_place(attempt_id: str) -> Place:
    return Place("oauth_attempts", "sealed_refresh", attempt_id)


async def forget_old(conn: Connection) -> None:
    """Delete what has had its ten minutes, sealed pairs that wait for a yes among it."""
    await conn.execute(QUERIES["forget_old"])


async def open_attempt(
    conn: Connection, *, person_id: str, owner_id: str, route: str, region: str, return_to: str
) -> tuple[str, datetime]:
    """A new attempt: its hand-over token (256 random bits) and its end (aware UTC, 10 minutes on).

    What is old goes, and of the person's unfinished ones all but the newest 20.
    """
    await forget_old(conn)
    await conn.execute(QUERIES["forget_surplus"], {"person_id": person_id, "most": MOST_OF_A_PERSON - 1})
    token = secrets.token_urlsafe(RANDOM_BYTES)
    values = {
        "id": str(uuid.uuid4()),
        "person_id": person_id,
        "owner_id": owner_id,
        "provider": route,
        "region": region,
        "return_to": return_to,
        "handover_hash": fingerprint(token),
        "lifetime_s": LIFETIME_S,
    }
    row = await (await conn.execute(QUERIES["insert_attempt"], values)).fetchone()
    if row is None:
        raise RuntimeError("an attempt was not stored")
    return token, row["expires_at"]


async def look(conn: Connection, handover: str) -> Row | None:
    """An attempt whose hand-over is unused: id, person_id, owner_id, provider, region, label."""
    values = {"handover_hash": fingerprint(handover)}
    return await (await conn.execute(QUERIES["look"], values)).fetchone()


async def use_handover(conn: Connection, vault: Vault, handover: str, attempt_id: str) -> Bound | None:
    """Use the hand-over up and bind the attempt to one browser; None where it was used meanwhile."""
    bound = Bound(
        state=secrets.token_urlsafe(RANDOM_BYTES),
        binding=secrets.token_urlsafe(RANDOM_BYTES),
        verifier=Secret(secrets.token_urlsafe(RANDOM_BYTES)),
    )
    values = {
        "id": attempt_id,
        "handover_hash": fingerprint(handover),
        "state_hash": fingerprint(bound.state),
        "binding_hash": fingerprint(bound.binding),
        "pkce_verifier": vault.seal(bound.verifier, _verifier_place(attempt_id)),
    }
    row = await (await conn.execute(QUERIES["use_handover"], values)).fetchone()
    return bound if row else None


async def consume(conn: Connection, vault: Vault, state: str, binding: str | None) -> Attempt | None:
    """Burn a state; the attempt if it was alive and this is the browser that began it, else None."""
    row = await (await conn.execute(QUERIES["consume"], {"state_hash": fingerprint(state)})).fetchone()
    if row is None or not row["alive"] or binding is None:
        return None
    if not secrets.compare_digest(bytes(row["binding_hash"]), fingerprint(binding)):
        return None
    return _attempt(row, vault)


async def consume_pasted(conn: Connection, vault: Vault, state: str, owner_id: str) -> Attempt | None:
    """Burn a state that an owner pasted back; the attempt if it was alive and theirs, else None."""
    values = {"state_hash": fingerprint(state), "owner_id": owner_id}
    row = await (await conn.execute(QUERIES["consume_pasted"], values)).fetchone()
    return _attempt(row, vault) if row is not None and row["alive"] else None


async def begin_now(conn: Connection, person_id: str, owner_id: str, route: str, region: str) -> Attempt:
    """A sign-in that needs no browser and no state: begun by the database's clock, stored nowhere."""
    row = await (await conn.execute(QUERIES["begin_now"])).fetchone()
    if row is None:
        raise RuntimeError("the database told no time")
    return Attempt(person_id, owner_id, route, region, None, row["began_at"], NO_SECRET)


def _attempt(row: Row, vault: Vault) -> Attempt:
    return Attempt(
        person_id=row["person_id"],
        owner_id=row["owner_id"],
        route=row["provider"],
        region=row["region"],
        return_to=row["return_to"],
        began_at=row["created_at"],
        verifier=vault.open(row["pkce_verifier"], _verifier_place(row["id"])),
    )


async def lock_person(conn: Connection, person_id: str) -> None:
    """Until the transaction ends nobody else stores a consent of this person, confirms one or erases them.

    Taken before any row of the person's; a sync takes it never.
    """
    await conn.execute(QUERIES["lock_person"], {"person_id": person_id})


async def still_fits(conn: Connection, attempt: Attempt) -> bool:
    """Under ``lock_person``: whether what came back may be stored, whatever happened while the vendor was asked."""
    values = {"person_id": attempt.person_id, "owner_id": attempt.owner_id, "began_at": attempt.began_at}
    row = await (await conn.execute(QUERIES["still_fits"], values)).fetchone()
    return bool(row and row["fits"])


async def keep_waiting(conn: Connection, vault: Vault, owner_id: str, waiting: Waiting) -> str:
    """Keep a fresh pair sealed for a while, instead of an older one of the same person; the attempt's id.

    Ten minutes for the person's word; an hour, or the access token's life, until the vendor tells whose it is.
    """
    unsettled_s = min(UNSETTLED_LIFETIME_S, waiting.tokens.lifetime_s)
    attempt_id = str(uuid.uuid4())
    values = {
        "id": attempt_id,
        "person_id": waiting.person_id,
        "owner_id": owner_id,
        "provider": waiting.route,
        "region": waiting.region,
        "access": vault.seal(_with_choices(waiting), _access_place(attempt_id)),
        "refresh": vault.seal(waiting.tokens.refresh, _refresh_place(attempt_id)),
        "token_expires_at": waiting.tokens.expires_at,
        "token_lifetime_s": waiting.tokens.lifetime_s,
        "account_id": waiting.account_id,
        "unfinished": waiting.unfinished,
        "pasted_hash": _pasted_hash(waiting.pasted) if waiting.pasted else None,
        "lifetime_s": unsettled_s if waiting.pasted else LIFETIME_S,
    }
    await conn.execute(QUERIES["forget_waiting"], values)
    await conn.execute(QUERIES["insert_waiting"], values)
    return attempt_id


def _pasted_hash(pasted: Secret) -> bytes:
    """Of another kind than that of a state."""
    return fingerprint("pasted " + pasted.reveal())


def _with_choices(waiting: Waiting) -> Secret:
    if not waiting.unfinished:
        return waiting.tokens.access
    both = _Unfinished(waiting.tokens.access.reveal(), waiting.choices)
    return Secret(msgspec.json.encode(both).decode())


async def look_waiting(conn: Connection, attempt_id: str, owner_id: str) -> Row | None:
    """What a waiting pair of this owner's would change: person_id, provider; None: unknown, foreign, used or old."""
    values = {"id": attempt_id, "owner_id": owner_id}
    return await (await conn.execute(QUERIES["look_waiting"], values)).fetchone()


async def look_choice(conn: Connection, vault: Vault, attempt_id: str, owner_id: str) -> Waiting | None:
    """A pair that waits for a choice, left where it is; None: as ``look_waiting``, or another word is waited for.

    Raises SealBroken.
    """
    row = await look_waiting(conn, attempt_id, owner_id)
    return _waiting(row, vault) if row is not None and row["unfinished"] else None


async def look_pasted(conn: Connection, vault: Vault, pasted: Secret, owner_id: str) -> tuple[str, Waiting] | None:
    """The id and the pair that this owner's paste was made into before, left where it is. Raises SealBroken."""
    values = {"pasted_hash": _pasted_hash(pasted), "owner_id": owner_id}
    known = await (await conn.execute(QUERIES["look_pasted"], values)).fetchone()
    row = await look_waiting(conn, known["id"], owner_id) if known is not None else None
    waiting = _waiting(row, vault) if row is not None else None
    return (row["id"], waiting) if row is not None and waiting is not None else None


async def consume_waiting(
    conn: Connection, vault: Vault, attempt_id: str, owner_id: str, person_id: str, *, unfinished: bool = False
) -> Waiting | None:
    """Take the pair out, once; None where it was used, grew old, or waits for another word. Raises SealBroken."""
    values = {"id": attempt_id, "owner_id": owner_id, "person_id": person_id, "unfinished": unfinished}
    row = await (await conn.execute(QUERIES["consume_waiting"], values)).fetchone()
    return _waiting(row, vault) if row is not None else None


def _waiting(row: Row, vault: Vault) -> Waiting | None:
    """None: one that an earlier version kept without its choices."""
    access = vault.open(row["sealed_access"], _access_place(row["id"]))
    choices: tuple[str, ...] = ()
    if row["unfinished"]:
        try:
            both = msgspec.json.decode(access.reveal(), type=_Unfinished)
        except (msgspec.MsgspecError, ValueError):
            return None
        access, choices = Secret(both.access), both.choices
    refresh = vault.open(row["sealed_refresh"], _refresh_place(row["id"]))
    tokens = Tokens(access, refresh, row["token_expires_at"], row["token_lifetime_s"])
    return Waiting(row["person_id"], row["provider"], row["region"], row["vendor_account"], tokens, choices)
