"""Dexcom's official API v3 (developer.dexcom.com/docs, read 2026-11): the record, nothing else."""

from datetime import timedelta

from evercgm.core.ladder import Reread
from evercgm.core.limits import CallLimits
from evercgm.provider_kit.contract import Consent, News, Provider, Region
from evercgm.providers.dexcom import auth, client

# Dexcom v3, "egvs": 30 days between startDate and endDate; a minute less keeps clear of how they count.
LONGEST_WINDOW = timedelta(days=29, hours=23, minutes=59)

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
    longest_window=LONGEST_WINDOW,
    # A phone fills its gaps within a day, one that was offline uploads days later, a receiver weeks later (dexcom facts
    # A5, A8). The last rung keeps a promise: what comes up to 30 days late is stored within 7 days of its coming. So it
    # is half a day early, for a vendor's outage, and goes back 30 days, its own period and a day and a half.
    rereads=(
        Reread("each sync", timedelta(hours=24), timedelta(0), LONGEST_WINDOW),
        Reread("daily", timedelta(days=8), timedelta(days=1), LONGEST_WINDOW),
        Reread("weekly", timedelta(days=38), timedelta(days=6, hours=12), LONGEST_WINDOW),
    ),
    # A sensor gives a reading every 5 minutes, and it should show soon after Dexcom has it. At 12 polls an hour of
    # about two calls the limit below is enough for some 2,500 people; beyond, poll less often.
    poll_every=timedelta(minutes=5),
    login=Consent(auth.begin, auth.finish),
    refresh=auth.refresh,
    survey=client.survey,
    read=client.read,
    # A refresh token lives at most a year (dexcom facts A2, read 2026-11); whether each rotation begins the year
    # anew is not said, so it is counted from the consent.
    consent_lasts=timedelta(days=365),
    # "dataRange" answers wrongly to a lastSyncTime older than 100 days; others send it below 30 (dexcom facts A4).
    news=News(client.news, reach=timedelta(days=30)),
    # 60,000 calls per app per hour, then 429 (dexcom facts A6, read 2026-11). A tenth waits for people: a first sync of
    # 90 days is about six calls, so that a thousand may connect within an hour in which background syncs took the rest.
    calls=CallLimits(an_hour=60_000, for_people=0.1),
)
