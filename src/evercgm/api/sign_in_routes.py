"""Connecting without a consent page of ours to come back to: by user name and password, or by what is pasted."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from evercgm.actions import sign_in
from evercgm.actions.confirm import confirm
from evercgm.api.caller import Changing, Wired
from evercgm.api.error_responses import Problem
from evercgm.api.fields import Id, Told
from evercgm.core.errors import BadInput, NotYours
from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import PASTED, Credentials
from evercgm.storage import views

router = APIRouter(tags=["connect"])
LONGEST_NAME = 254
LONGEST_PASSWORD = 256
LONGEST_PASTE = 16_384
NOTHING_WAITS = "No sign-in waits under this name: it was used or is older than ten minutes. Connect once more."
Hidden = Annotated[SecretStr, Field(min_length=1, max_length=LONGEST_PASSWORD)]
UserName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_NAME)]
Who = Annotated[str, StringConstraints(min_length=1, max_length=200)]
PastedText = Annotated[SecretStr, Field(min_length=1, max_length=LONGEST_PASTE)]


class PasswordLogin(BaseModel):
    """``keep_password``: may we keep it, sealed, to sign in again when the vendor's session ends? Else we ask again."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    username: UserName
    password: Hidden
    keep_password: bool = False
    person_id: Id | None = None


class LibreLogin(PasswordLogin):
    """A LibreLinkUp account: a follower's, invited in the sensor's app. ``ru``, ``cn``: accounts made there."""

    region: Literal["world", "ru", "cn"] = "world"


class ShareLogin(PasswordLogin):
    """The Dexcom account of the person who wears the sensor, with sharing on."""

    region: Literal["us", "eu", "jp"]


class PasteRequest(BaseModel):
    """Which of CareLink's two clouds the account lives in."""

    model_config = ConfigDict(extra="forbid")
    region: Literal["us", "eu"]
    person_id: Id | None = None


class PasteBegun(BaseModel):
    """Open ``authorization_url`` in a browser, sign in there, and paste the address it ends at."""

    authorization_url: str
    expires_at: Told


class PastedBack(BaseModel):
    """One of the two. ``region`` and ``person_id`` count for a token bundle alone."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    redirect_url: PastedText | None = None
    token_bundle: PastedText | None = None
    region: Literal["us", "eu"] = "eu"
    person_id: Id | None = None


class Confirmation(BaseModel):
    """``attempt``: from the problem ``other_account`` or ``choose_person``. ``who``: the id of one of its choices."""

    model_config = ConfigDict(extra="forbid")
    attempt: Id
    who: Who | None = None


class Connected(BaseModel):
    """The connection that was made, or that has this sign-in now."""

    connection_id: str


@router.post("/libre/login", status_code=201)
async def libre_login(body: LibreLogin, runtime: Wired, caller: Changing) -> Connected:
    """Connect a LibreLinkUp account. Its password goes to the vendor once and is only kept where that is allowed."""
    return await _by_password(runtime, caller, "libre", body.region, body)


@router.post("/dexcom/share/login", status_code=201)
async def share_login(body: ShareLogin, runtime: Wired, caller: Changing) -> Connected:
    """Add Dexcom Share to the person's Dexcom connection, or connect by it alone: unofficial, near real time."""
    return await _by_password(runtime, caller, "dexcom_share", body.region, body)


async def _by_password(runtime: Wired, caller: Changing, route: str, region: str, body: PasswordLogin) -> Connected:
    username, password = _sendable("username", body.username), _sendable("password", body.password.get_secret_value())
    connection_id = await sign_in.by_password(
        runtime.db,
        runtime.vendors,
        caller,
        person_id=await views.chosen_person(runtime.db, caller, body.person_id),
        route=route,
        region=region,
        credentials=Credentials(Secret(username), Secret(password), body.keep_password),
    )
    return Connected(connection_id=connection_id)


@router.post("/medtronic/oauth")
async def begin_medtronic(body: PasteRequest, runtime: Wired, caller: Changing) -> PasteBegun:
    """Begin to connect a CareLink account: the address of the vendor's own page."""
    page = await sign_in.begin_paste(
        runtime.db,
        runtime.vendors,
        caller,
        person_id=await views.chosen_person(runtime.db, caller, body.person_id),
        route="medtronic",
        region=body.region,
    )
    return PasteBegun(authorization_url=page.url, expires_at=page.expires_at)


@router.post("/medtronic/callback", status_code=201)
async def finish_medtronic(body: PastedBack, runtime: Wired, caller: Changing) -> Connected:
    """Finish it with the address that the vendor's page ended at, or with another tool's bundle of tokens.

    A bundle is renewed at once and works nowhere else from then on: the other tool stops. Where CareLink stumbles
    afterwards, the same body sent again within the hour goes on from there.
    """
    sent = {"redirect_url": body.redirect_url, "token_bundle": body.token_bundle}
    given = [(field, text) for field, text in sent.items() if text is not None]
    try:
        connection_id = await sign_in.finish_paste(
            runtime.db,
            runtime.vendors,
            caller,
            route="medtronic",
            pasted=Secret(given[0][1].get_secret_value().strip()) if len(given) == 1 else None,
            person_id=await views.chosen_person(runtime.db, caller, body.person_id),
            region=body.region,
        )
    except BadInput as refused:
        if refused.field != PASTED:
            raise
        raise BadInput(given[0][0], refused.message) from None
    return Connected(connection_id=connection_id)


@router.post("/connections/confirm")
async def confirm_sign_in(body: Confirmation, runtime: Wired, caller: Changing) -> Connected:
    """Say yes to another account than before, or whom of several people a sign-in is about."""
    try:
        if body.who is None:
            return Connected(connection_id=await confirm(runtime.db, runtime.vendors, caller, body.attempt))
        return Connected(
            connection_id=await sign_in.choose(runtime.db, runtime.vendors, caller, body.attempt, body.who)
        )
    except NotYours as refused:
        raise Problem(404, "not_found", NOTHING_WAITS) from refused


def _sendable(field: str, text: str) -> str:
    """Raises BadInput without a word of the text."""
    if not text.isprintable():
        raise BadInput(field, "has characters that cannot be typed; copy it without line breaks")
    return text
