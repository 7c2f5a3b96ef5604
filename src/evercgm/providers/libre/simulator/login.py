"""The simulated LibreLinkUp sign-in, the steps behind it, and the list of its regions; no readings."""

from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from evercgm.providers.libre.simulator import faults, records
from evercgm.providers.libre.simulator.cloud import Cloud, cloud_of
from evercgm.providers.libre.simulator.faults import Lock
from evercgm.providers.libre.simulator.people import SHARDS, Account
from evercgm.providers.libre.simulator.troubles import bearer_of, credentials_of, page
from evercgm.simulator_kit.answers import json_response

TOKEN_LIFE = timedelta(days=180)
STEP_LIFE = timedelta(hours=1)


async def log_in(request: Request) -> Response:
    """E-mail and password for a token, or why not: nearly always with HTTP status 200."""
    cloud, sent = cloud_of(request), await credentials_of(request)
    if not request.headers.get("product") or sent is None:
        return json_response({"message": "RequiredHeaderMissing"}, 400)
    username, password = sent
    take = cloud.faults.take
    if (ban := take(faults.LOGIN_BAN, "login", username)) is not None:
        after = str(ban.retry_after) if ban.retry_after is not None else ""
        if ban.status in (403, 429):
            return page(ban.status, after)
        return Response(status_code=ban.status, headers={"Retry-After": after} if after else {})
    region = take(faults.LOGIN_REDIRECT, "login", username)
    if region is not None:
        return _sent_on(region)
    rule = take(faults.LOCK_RULE, "login", username) or Lock()
    now = cloud.clock()
    if take(faults.LOCKED, "login", username) or _is_locked(cloud.state.failures(username), rule, now):
        return _locked(rule)
    account = cloud.accounts.get(username)
    if account is None or account.password != password:
        cloud.state.note_failure(username, now)
        word = take(faults.WRONG_PASSWORD_WORD, "login", username) or "notAuthenticated"
        return json_response({"status": 2, "error": {"message": word}})
    cloud.state.forget_failures(username)
    home = cloud.home(account)
    if request.path_params.get("shard", "") != home:
        return _sent_on(home)
    return _let_in(cloud, account, home)


async def go_on(request: Request) -> Response:
    """A document is accepted: the next step, or in."""
    cloud = cloud_of(request)
    ticket = cloud.state.ticket_of(bearer_of(request), cloud.clock())
    gone = cloud.faults.take(faults.CONTINUE_GONE, "continue", ticket.username if ticket else None)
    if gone or ticket is None or ticket.steps[:1] != (request.path_params["step"],):
        return Response(status_code=404)
    account = cloud.accounts[ticket.username]
    return _step(cloud, account, ticket.shard, ticket.steps[1:])


async def show_country(request: Request) -> Response:
    """The regions, each at this cloud's own address."""
    base = str(request.base_url).rstrip("/") + "/libre"
    regions = {shard: {"lslApi": f"{base}/{shard}", "socketHub": f"{base}/{shard}"} for shard in SHARDS}
    countries = [{"DisplayMember": "Deutschland", "ValueMember": "DE"}]
    data = {"lslApi": f"{base}/eu", "regionalMap": regions, "CountryList": {"countries": countries}}
    return json_response({"status": 0, "data": data})


def _let_in(cloud: Cloud, account: Account, shard: str) -> Response:
    step = cloud.faults.take(faults.LOGIN_STEP, "login", account.username)
    if step == "no_ticket":
        return json_response({"status": 0, "data": {}})
    return _step(cloud, account, shard, ("tou", "pp") if step == "tou_pp" else (step,) if step else ())


def _step(cloud: Cloud, account: Account, shard: str, steps: tuple[str, ...]) -> Response:
    now = cloud.clock()
    life_s = cloud.faults.take(faults.TOKEN_LIFE_S, "login", account.username)
    life = STEP_LIFE if steps else TOKEN_LIFE if life_s is None else timedelta(seconds=life_s)
    ticket = cloud.state.new_ticket(account.username, account.user_id, shard, now, life, steps)
    if steps:
        return json_response({"status": 4, "data": records.step(steps[0], ticket, now)})
    return json_response({"status": 0, "data": records.logged_in(account, ticket, now)})


def _sent_on(region: str) -> Response:
    return json_response({"status": 0, "data": {"redirect": True, "region": region}})


def _is_locked(failures: list[datetime], rule: Lock, now: datetime) -> bool:
    """So many failures within the interval lock from the last of them on."""
    several = zip(failures, failures[rule.failures - 1 :], strict=False)
    locks = (last for first, last in several if last - first <= timedelta(seconds=rule.interval))
    return any(now < at + timedelta(seconds=rule.lockout) for at in locks)


def _locked(rule: Lock) -> Response:
    told = {"failures": rule.failures, "interval": rule.interval, "lockout": rule.lockout}
    return json_response({"status": 429, "data": {"code": 60, "data": told, "message": "locked"}})
