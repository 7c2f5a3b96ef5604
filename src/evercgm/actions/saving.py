"""Saves what one answer held, by the ranks of the ways that lead to the same readings."""

from dataclasses import replace

from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.provider_kit.contract import Provider
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import readings
from evercgm.storage.database import Connection
from evercgm.storage.readings import SAME_MOMENT, Owner, Saved, add


async def save_batch(
    conn: Connection,
    vendors: Vendors,
    provider: Provider,
    batch: Batch,
    window: Window,
    *,
    person_id: str,
    connection_id: str,
    account: str,
) -> Saved:
    """In the caller's transaction. Present values of a second series give way to its history (``Provider.slot``)."""
    series = f"{provider.provider}/{provider.route}"
    live, history = f"{series}.live/", f"{series}/"
    slot = provider.slot or SAME_MOMENT
    lesser = (*_side_streams(vendors, provider), *((live,) if provider.slot else ()))
    greater = (f"{provider.provider}/{provider.provider}/",) if provider.is_side_route else ()
    owner = Owner(
        person_id, connection_id, history + account, lesser, greater, slot, by_device_clock=provider.by_device_clock
    )
    saved = await readings.save(conn, owner, batch, window if provider.shows_all else None)
    if not batch.live:
        return saved
    present = Owner(person_id, connection_id, live + account, greater=(history, live), slot=slot, shares=True)
    both = add(saved, await readings.save(conn, present, Batch(batch.live, (), batch.account_id)))
    # All that was refused is told by the first of the two.
    return replace(both, doubtful=saved.doubtful)


def _side_streams(vendors: Vendors, provider: Provider) -> tuple[str, ...]:
    """How the streams of the unofficial ways to the same readings begin."""
    if provider.is_side_route:
        return ()
    others = (other for other in vendors.providers.values() if other.provider == provider.provider)
    return tuple(f"{other.provider}/{other.route}/" for other in others if other.is_side_route)
