"""Medtronic's CareLink as its CarePartner app sees it (no official API; read 2026-11): the record, nothing else."""

from datetime import timedelta

from evercgm.core.ladder import Reread
from evercgm.core.limits import CallLimits
from evercgm.provider_kit.contract import Paste, Provider, Region
from evercgm.providers.medtronic import auth, client, paste
from evercgm.providers.medtronic.hosts import EU, US, hosts

# The phone uploads each value, and the cloud shows it about a minute later.
DELAY = timedelta(minutes=2)

PROVIDER = Provider(
    route="medtronic",
    provider="medtronic",
    title="Medtronic CareLink",
    official=False,
    regions={
        "us": Region("United States", US, DELAY),
        # By the vendor's own list of countries; Canada belongs here.
        "eu": Region("Everywhere else, Canada too", EU, DELAY),
    },
    # An answer has no window: it is the last 24 hours.
    longest_window=timedelta(days=400),
    rereads=(Reread("each sync", client.KEEPS, timedelta(0), timedelta(days=400)),),
    poll_every=timedelta(minutes=5),
    login=Paste(auth.begin, auth.finish, auth.settle, paste.state_of, auth.choose),
    refresh=auth.refresh,
    survey=client.survey,
    read=client.read,
    terms=(
        "Medtronic offers no interface for other programs: this way in signs in as its CarePartner app does, without "
        "Medtronic’s approval, and Medtronic may end it or block the account at any time."
    ),
    account_of=client.account_of,
    hosts=hosts,
    # A refresh token ends after about a week without use, also while nothing is read (medtronic facts, 2026-11).
    keep_alive=timedelta(days=1),
    revoke=auth.revoke,
    keeps=client.KEEPS,
    live=timedelta(seconds=70),
    # No limit is documented; too many calls had an address refused for a while. A call a person each five minutes.
    calls=CallLimits(an_hour=6_000, for_people=0.1),
    shows_all=False,
    by_device_clock=True,
)
