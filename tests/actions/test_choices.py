"""Whom a sign-in is about: one of those whom the account follows, and a wrong answer costs nothing."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sign_in_clouds import SignInClouds, open_clouds
from sync_world import World

from evercgm.actions import sign_in
from evercgm.core.errors import BadInput, ChooseFirst, NotYours, VendorTryLater
from evercgm.core.tokens import Secret
from evercgm.providers.libre.simulator.people import ALEX, DEMO_PASSWORD, KIM
from evercgm.storage.connections import access_place
from evercgm.storage.vault import Place

# By way in: who may be chosen, and the fault by which the vendor shows nobody for a while.
CHOICES = {"libre": (ALEX.patient_id, KIM.patient_id), "medtronic": ("pat.alpha", "kim.beta")}
SILENCES = {"libre": ("maintenance", True), "medtronic": ("server_error", 503)}
EVERY_WAY = pytest.mark.parametrize("way", ["libre", "medtronic"])


@dataclass
class Family:
    """One person, and accounts that follow two people."""

    world: World
    clouds: SignInClouds

    async def sign_in(self, way: str, *, keep: bool = True) -> str:
        """The name under which the sign-in waits for a choice."""
        begin: dict[str, Callable[[], Awaitable[str]]] = {
            "libre": lambda: self._by_password(keep=keep), "medtronic": self._by_paste,
        }  # fmt: skip
        with pytest.raises(ChooseFirst) as several:
            await begin[way]()
        assert tuple(one.id for one in several.value.choices) == CHOICES[way]
        assert several.value.attempt is not None
        return several.value.attempt

    async def choose(self, attempt: str, who: str) -> str:
        return await sign_in.choose(self.world.db, self.clouds.vendors, self.world.caller, attempt, who)

    def silence(self, way: str) -> None:
        {"libre": self.clouds.libre, "medtronic": self.clouds.carelink.desk}[way].set_fault(*SILENCES[way])

    def speak(self, way: str) -> None:
        {"libre": self.clouds.libre, "medtronic": self.clouds.carelink.desk}[way].clear_faults()

    def stored(self) -> list[tuple[str, str]]:
        """Each connection: its provider, and whose values it reads."""
        rows = self.world.sql("select id, provider::text, access_token from public.cgm_connections")
        opened = [
            (way, json.loads(self.world.db.vault.open(sealed, access_place(id_)).reveal())) for id_, way, sealed in rows
        ]
        return [(way, kept["patient_id"] if way == "libre" else kept["view"]["patient"]) for way, kept in opened]

    async def _by_password(self, *, keep: bool) -> str:
        world = replace(self.world, vendors=self.clouds.vendors)
        return await world.sign_in(("libre", "world"), "family@example.com", DEMO_PASSWORD, keep=keep)

    async def _by_paste(self) -> str:
        world, vendors = self.world, self.clouds.vendors
        where = {"route": "medtronic", "person_id": world.person_id, "region": "eu"}
        page = await sign_in.begin_paste(world.db, vendors, world.caller, **where)
        pasted = Secret(await self.clouds.leave_page(page.url, "follower.two"))
        return await sign_in.finish_paste(world.db, vendors, world.caller, pasted=pasted, **where)


@pytest.fixture
async def family(world: World, tmp_path: Path) -> AsyncIterator[Family]:
    async with open_clouds(tmp_path / "clouds") as clouds:
        yield Family(world, clouds)


@EVERY_WAY
async def test_somebody_who_was_not_offered_is_refused_by_the_field_and_the_sign_in_still_waits(
    family: Family, way: str
) -> None:
    others = [one for other in CHOICES if other != way for one in CHOICES[other]]
    attempt = await family.sign_in(way)

    for wrong in (*others, "somebody.else", "", " ", f"{CHOICES[way][0]} ", CHOICES[way][0].upper(), "\x00", "ä" * 200):
        with pytest.raises(BadInput, match="must be the id of one of the people") as refused:
            await family.choose(attempt, wrong)
        assert refused.value.field == "who"

    assert family.stored() == []
    await family.choose(attempt, CHOICES[way][1])
    assert family.stored() == [(way, CHOICES[way][1])]


@EVERY_WAY
async def test_whom_the_vendor_does_not_show_is_not_stored_and_may_be_chosen_once_more(
    family: Family, way: str
) -> None:
    attempt = await family.sign_in(way)
    family.silence(way)

    with pytest.raises(VendorTryLater):
        await family.choose(attempt, CHOICES[way][1])

    assert family.stored() == []
    family.speak(way)
    await family.choose(attempt, CHOICES[way][1])
    assert family.stored() == [(way, CHOICES[way][1])]


@EVERY_WAY
async def test_a_choice_is_made_once(family: Family, way: str) -> None:
    attempt = await family.sign_in(way)
    await family.choose(attempt, CHOICES[way][0])

    for who in (*CHOICES[way], "somebody.else"):
        with pytest.raises(NotYours):
            await family.choose(attempt, who)

    assert family.stored() == [(way, CHOICES[way][0])]


@EVERY_WAY
async def test_who_may_be_chosen_is_sealed_with_the_tokens(family: Family, way: str) -> None:
    await family.sign_in(way)

    rows = family.world.sql("select to_jsonb(a)::text, sealed_access from cgm_private.oauth_attempts a")

    assert [(all(one not in text for one in CHOICES[way]), sealed[:3]) for text, sealed in rows] == [(True, "v1.")]


async def test_a_password_that_is_not_kept_is_not_kept_by_a_choice_either(family: Family) -> None:
    attempt = await family.sign_in("libre", keep=False)

    await family.choose(attempt, KIM.patient_id)

    assert family.world.sql("select refresh_token from public.cgm_connections") == [("",)]


async def test_a_choice_that_an_earlier_version_kept_asks_for_another_sign_in(family: Family) -> None:
    attempt = await family.sign_in("libre")
    family.world.sql("update cgm_private.oauth_attempts set sealed_access = %s", _as_before(family, attempt))

    with pytest.raises(NotYours):
        await family.choose(attempt, KIM.patient_id)

    assert family.stored() == []


def _as_before(family: Family, attempt: str) -> str:
    return family.world.db.vault.seal(Secret('{"token": "t"}'), Place("oauth_attempts", "sealed_access", attempt))
