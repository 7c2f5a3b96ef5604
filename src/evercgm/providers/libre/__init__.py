"""LibreLinkUp, the follower service of Abbott's FreeStyle Libre (no official interface): the record, nothing else."""

from datetime import timedelta

from evercgm.core.ladder import Reread
from evercgm.core.limits import CallLimits, Wait
from evercgm.provider_kit.contract import Password, Provider, Region
from evercgm.providers.libre import auth, client

# The calls know no window: each answers all there is. So one window of any length is one or two calls.
LONGEST_WINDOW = timedelta(days=400)
# The phone sends what it has each one to five minutes.
DELAY = timedelta(minutes=5)
# A 403 is a gate's, or says that our version is too old: of all our calls, never of one account (libre facts A8). No
# longer than an hour, as it keeps readings for twelve.
GATE = Wait(first_s=client.DENIED_WAIT_S, least_s=client.DENIED_WAIT_S)
WAITS = {429: Wait(first_s=600), 403: GATE}
# Of sign-ins alone: what a session reads goes on. A 403 there may be for what one person wrote as their name, who would
# close the sign-ins of all.
BAN = Wait(first_s=auth.SHORTEST_BAN_S, least_s=auth.SHORTEST_BAN_S, most_s=86_400)
SIGN_IN_WAITS = dict.fromkeys(client.ADDRESS_BANS, BAN)

PROVIDER = Provider(
    route="libre",
    provider="libre",
    title="FreeStyle Libre (LibreLinkUp)",
    official=False,
    regions={
        "world": Region("All countries but Russia and China", client.WORLD, DELAY),
        "ru": Region("Russia", client.RUSSIA, DELAY),
        "cn": Region("China", client.CHINA, DELAY),
    },
    longest_window=LONGEST_WINDOW,
    # Each answer holds the last 12 hours anew, late ones included, whatever is asked. A window that begins an hour
    # before the newest reading reaches beyond those 12 hours, to the logbook, only after a gap.
    rereads=(Reread("each sync", timedelta(hours=1), timedelta(0), LONGEST_WINDOW),),
    # Other systems poll each minute to each 5 minutes; a cycle of 3 minutes was banned once, one of 5 never.
    poll_every=timedelta(minutes=5),
    login=Password(auth.sign_in, auth.choose),
    refresh=auth.refresh,
    survey=client.survey,
    read=client.read,
    terms=(
        "Abbott publishes no interface to LibreLinkUp for other programs and may end this access at any time:"
        " use a follower account made for it, not the account of the sensor’s app."
    ),
    account_of=client.account_of,
    hosts=client.hosts,
    # Of the history, by what mapping.py calls the sensor; a Libre 3 has the usual one.
    cadences={"libre1": timedelta(minutes=15), "libre2": timedelta(minutes=15)},
    keeps=client.KEEPS,
    # No limits are published; they count per address. Our own: a call a second, a tenth of it kept for people.
    calls=CallLimits(an_hour=3600, for_people=0.1, waits=WAITS, sign_in_waits=SIGN_IN_WAITS),
    # A sensor without readings is shown with empty lists, and what has grown older than 12 hours is not absent.
    shows_all=False,
    # Less than half of the 5 minutes of a Libre 3, so that no live value lies near two of history. A Libre 2 has one of
    # history each 15 minutes: some of its live values stay between two of history, and none is lost.
    slot=timedelta(minutes=2, seconds=20),
)
