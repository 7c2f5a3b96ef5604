"""Dexcom's official API v3 (developer.dexcom.com/docs, read 2026-11): the record, nothing else."""

from datetime import timedelta

from evercgm.core.limits import CallLimits
from evercgm.provider_kit.contract import Provider, Region
from evercgm.providers.dexcom import auth, client

PROVIDER = Provider(
    route="dexcom",
    provider="dexcom",
    title="Dexcom",
    official=True,
    regions={
        "us": Region("United States", "https://api.dexcom.com", timedelta(hours=1)),
        "eu": Region("Outside the United States and Japan", "https://api.dexcom.eu", timedelta(hours=3)),
        "jp": Region("Japan", "https://api.dexcom.jp", timedelta(hours=3)),
        "sandbox": Region("Sandbox (invented people)", "https://sandbox-api.dexcom.com", timedelta(hours=1)),
    },
    # Dexcom v3, "egvs": 30 days between startDate and endDate; a minute less keeps clear of how they count.
    longest_window=timedelta(days=29, hours=23, minutes=59),
    # A sensor gives a reading every 5 minutes, and it should show soon after Dexcom has it. At 12 polls an hour of
    # about two calls the limit below is enough for some 2,500 people; beyond, poll less often.
    poll_every=timedelta(minutes=5),
    begin=auth.begin,
    finish=auth.finish,
    refresh=auth.refresh,
    survey=client.survey,
    read=client.read,
    # A refresh token lives at most a year (dexcom facts A2, read 2026-11); whether each rotation begins the year
    # anew is not said, so it is counted from the consent.
    consent_lasts=timedelta(days=365),
    # 60,000 calls per app per hour, then 429 (dexcom facts A6, read 2026-11). A tenth waits for people: a first sync of
    # 90 days is about six calls, so that a thousand may connect within an hour in which background syncs took the rest.
    calls=CallLimits(an_hour=60_000, for_people=0.1),
)
