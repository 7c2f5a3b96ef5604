"""``evercgm db quarantine``: the connections that a migration put aside, put back under a provider or deleted."""

import asyncio
import json
from dataclasses import asdict
from datetime import UTC
from typing import Annotated

import typer

from evercgm.cli.db_target import EnvironmentName, Target, reading_target
from evercgm.core.errors import BadInput
from evercgm.storage.schema.quarantine import PutBack, Quarantined, let_go, list_quarantined, look_up, put_back
from evercgm.storage.schema.told import as_word

quarantine_app = typer.Typer(
    help="Connections that a migration put aside: their provider was unknown, or spelt twice.", no_args_is_help=True
)
AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON.")]
REASONS = {
    "second_spelling": "a second spelling of {kept_id}, which has its readings",
    "unknown_provider": "no alias names this provider",
}


@quarantine_app.command("list")
def list_command(as_json: AsJson = False, environment: EnvironmentName = None) -> None:
    """List what is aside; tokens are never shown."""
    with reading_target(environment) as target:
        found = asyncio.run(list_quarantined(target.dsn.reveal(), target.setting))
    if as_json:
        typer.echo(json.dumps({"quarantined": [_as_json(one) for one in found]}))
        return
    for one in found:
        typer.echo(_line(one))
    typer.echo(f"{len(found)} in quarantine." if found else "Nothing is in quarantine.")


@quarantine_app.command()
def resolve(
    connection_id: Annotated[str, typer.Argument(metavar="ID", help="The connection's id.")],
    provider: Annotated[str | None, typer.Option(help="Put it back as a connection of this provider.")] = None,
    discard: Annotated[bool, typer.Option("--discard", help="Delete it for good, its tokens with it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="For --discard: yes, delete it.")] = False,
    as_json: AsJson = False,
    environment: EnvironmentName = None,
) -> None:
    """Put one back under a provider, with the readings that nothing has linked since; or delete it."""
    if discard == (provider is not None):
        raise BadInput("--provider", "say either --provider P (put it back) or --discard (delete it)")
    with reading_target(environment) as target:
        if provider is not None:
            result = asyncio.run(put_back(target.dsn.reveal(), target.setting, connection_id, provider))
            typer.echo(json.dumps(asdict(result)) if as_json else _told(result))
        else:
            gone = _discard(target, connection_id, yes=yes)
            typer.echo(json.dumps({"id": gone.id, "discarded": True}) if as_json else f"{gone.id} is deleted.")


def _discard(target: Target, connection_id: str, *, yes: bool) -> Quarantined:
    if not yes:
        aside = asyncio.run(look_up(target.dsn.reveal(), target.setting, connection_id))
        raise BadInput("--yes", f"say it to delete {_line(aside)}: {_loss(aside)}. Nothing was deleted")
    return asyncio.run(let_go(target.dsn.reveal(), target.setting, connection_id))


def _loss(aside: Quarantined) -> str:
    links = (
        f"its readings stay with {as_word(aside.kept_id or '')}"
        if aside.reason == "second_spelling"
        else f"its {aside.readings} readings stay, but nothing knows any more that they were its own"
    )
    return f"its tokens would be gone, without a word to the vendor, and no rollback could bring it back; {links}"


def _line(one: Quarantined) -> str:
    """The spelling in quotes, so that blanks and control characters show; ids where they have such."""
    reason = REASONS[one.reason].format(kept_id=as_word(one.kept_id or ""))
    return (
        f"{as_word(one.id)}  person {as_word(one.person_id)}  provider {json.dumps(one.spelling)}  "
        f"{one.readings} readings  since {_utc(one)}  {reason}"
    )


def _told(result: PutBack) -> str:
    elsewhere = f"; {result.elsewhere} stay with another connection" if result.elsewhere else ""
    return f"{as_word(result.id)} is a {result.provider} connection again, with {result.linked} readings{elsewhere}."


def _as_json(one: Quarantined) -> dict[str, object]:
    return {
        "id": one.id,
        "person_id": one.person_id,
        "provider": one.spelling,
        "reason": one.reason,
        "kept_id": one.kept_id,
        "readings": one.readings,
        "quarantined_at": _utc(one),
    }


def _utc(one: Quarantined) -> str:
    return one.put_aside_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
