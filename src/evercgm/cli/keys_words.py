"""What ``evercgm keys`` prints of an inventory: one line a place, one a key; counts and key ids, nothing else."""

from collections.abc import Mapping

import typer

from evercgm.actions.rotate_keys import Inventory, Kind, Rotation

AFTER_ALL = (
    "an old key may be removed once every serve and work runs with the new ENCRYPTION_KEY "
    "and evercgm keys status still shows 0 for it"
)


def as_json(found: Inventory) -> dict[str, object]:
    """For programs: places with their counts by form, then the ring."""
    return {
        "places": [{"place": name, **_counts(kinds)} for name, kinds in found.places.items()],
        "keys": [
            {
                "key_id": name,
                "primary": name == found.ring[0],
                "values": found.needed[name],
                "removable": is_removable(found, name),
            }
            for name in found.ring
        ],
        "unopened": found.unopened,
    }


def _counts(kinds: Mapping[Kind, int]) -> dict[str, object]:
    """``ours`` and ``unreadable`` by the key id that the values name; null: they name none."""
    forms = {form: _of_form(kinds, form) for form in ("host", "plain", "empty")}
    return {
        "ours": {kind.key_id: count for kind, count in kinds.items() if kind.form == "ours"},
        **forms,
        "unreadable": _of_form(kinds, "unreadable"),
        "unreadable_by_key": {kind.key_id: n for kind, n in kinds.items() if kind.form == "unreadable" and kind.key_id},
    }


def _of_form(kinds: Mapping[Kind, int], form: str) -> int:
    return sum(count for kind, count in kinds.items() if kind.form == form)


def is_removable(found: Inventory, name: str) -> bool:
    """An older key that nothing needs; while anything of ours does not open, none is."""
    return name != found.ring[0] and not found.needed[name] and not found.unopened


def tell_inventory(found: Inventory) -> None:
    """A line a place that has rows."""
    for name, kinds in found.places.items():
        if kinds:
            words = ", ".join(_words(kind, count) for kind, count in sorted(kinds.items(), key=_by_form))
            typer.echo(f"{name:<40} {words}")


def _by_form(item: tuple[Kind, int]) -> tuple[str, str]:
    return item[0].form, item[0].key_id or ""


def _words(kind: Kind, count: int) -> str:
    match kind.form:
        case "ours":
            return f"{count} under {kind.key_id}"
        case "host":
            return f"{count} sealed by the host app"
        case "plain":
            return f"{count} in plain text"
        case "empty":
            return f"{count} empty"
        case _:
            return f"{count} unreadable" + (f" (naming key {kind.key_id})" if kind.key_id else "")


def tell_keys(found: Inventory) -> None:
    """A line a key of the ring, and what to do about values that do not open."""
    for name in found.ring:
        typer.echo(f"key {name}: {_verdict(found, name)}")
    if found.unopened:
        typer.echo(f"{found.unopened} values do not open. A key that is missing: add it to ENCRYPTION_KEYS_PREVIOUS.")
        typer.echo("No key may be removed before that is settled: docs/keys.md, a key is lost.")


def _verdict(found: Inventory, name: str) -> str:
    count = found.needed[name]
    if name == found.ring[0]:
        return f"ENCRYPTION_KEY, {count} values; new ones are sealed with it"
    if count:
        return f"needed by {count} values: evercgm keys rotate"
    if found.unopened:
        return "needed by 0 values that open; keep it"
    return f"needed by 0 values; {AFTER_ALL}"


def tell_rotation(done: Rotation, dry_run: bool) -> None:
    """What was sealed anew, by place, then how things are."""
    if dry_run:
        others = sum(done.left.needed[name] for name in done.left.ring[1:])
        typer.echo(f"{others} values would be sealed anew with {done.left.ring[0]}.")
    for name, count in done.resealed.items():
        typer.echo(f"{name:<40} {count} sealed anew")
    if not dry_run and not done.resealed:
        typer.echo("There was nothing to seal anew.")
    tell_inventory(done.left)
    tell_keys(done.left)
    host = [kinds for name, kinds in done.left.places.items() if name.startswith("host_connections.")]
    if any(Kind("ours", old) in kinds for kinds in host for old in done.left.ring[1:]):
        typer.echo("Connections of the host app are never altered here: evercgm adopt takes them over.")


RENEWALS = {
    "connected": "will be renewed at their next sync, which is due now",
    "error": "are in trouble and will be renewed at their next try",
    "disconnected": "are paused: renewed when they are resumed, and until then a copy of their refresh token works",
    "expired": "have expired: the vendor takes their tokens no more",
    "without tokens": "hold no tokens",
}


def tell_renewal(kinds: Mapping[str, int]) -> None:
    """A line a status."""
    for kind, words in RENEWALS.items():
        if kinds.get(kind):
            typer.echo(f"{kinds[kind]} connections {words}.")
    if not kinds:
        typer.echo("There is no connection of ours.")
    typer.echo("Access tokens that were given before work until they end, at Dexcom within two hours.")
