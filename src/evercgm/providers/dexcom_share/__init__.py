"""Dexcom Share, the follower service, an unofficial way in (Share facts B, read 2026-11): the record, nothing else."""

from datetime import timedelta

from evercgm.core.ladder import Reread
from evercgm.provider_kit.contract import Password, Provider, Region
from evercgm.providers.dexcom_share import auth, client

# One answer holds all that there is, so that no stretch is ever asked for in parts.
NEVER_IN_PARTS = timedelta(days=400)

PROVIDER = Provider(
    route="dexcom_share",
    provider="dexcom",
    title="Dexcom Share",
    official=False,
    regions={
        "us": Region("United States", "https://share2.dexcom.com", timedelta(0)),
        "eu": Region("Outside the United States and Japan", "https://shareous1.dexcom.com", timedelta(0)),
        "jp": Region("Japan", "https://share.dexcom.jp", timedelta(0)),
    },
    longest_window=NEVER_IN_PARTS,
    # A phone that was out of reach fills in what Share still shows; what comes later than 24 h, it never shows.
    rereads=(Reread("each sync", client.KEEPS, timedelta(0), NEVER_IN_PARTS),),
    poll_every=timedelta(minutes=5),
    login=Password(auth.sign_in),
    refresh=auth.refresh,
    survey=client.survey,
    read=client.read,
    terms=(
        "Dexcom made Share for its own Follow app and offers it to no other; it may change or end this way, or object "
        "to it, at any time."
    ),
    account_of=client.account_of,
    keeps=client.KEEPS,
    # Others ask 18 s after the reading is due, and find it (Share facts B5).
    live=timedelta(seconds=18),
    # An answer reaches back 24 h from its own moment, so that its oldest end is missing by nature.
    shows_all=False,
)
