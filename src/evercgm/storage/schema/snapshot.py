"""A database's shape as plain data: one entry an object, in canonical words. No data, tokens, hosts or project ids."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evercgm.core.errors import EvercgmError

FORM = "evercgm database snapshot 1"
_NO_ALIAS = r"(?!(?:WHERE|JOIN|LEFT|RIGHT|FULL|INNER|CROSS|NATURAL|GROUP|ORDER|LIMIT|FOR)\b)"
_ALIAS = re.compile(rf'(\bFROM (?:public\.)?"Person") {_NO_ALIAS}(\w+)\b')


class NoSnapshot(EvercgmError):
    """A file or text is no snapshot; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What an entry is about: ``kind`` as "column", ``name`` as "public.cgm_connections.provider"."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``history`` is version → name; None where there is none or it may not be read (``history_hidden``).

    ``owner``: what kind of role owns the connections; "" without that table.
    """

    entries: Mapping[Key, str]
    history: Mapping[str, str] | None = None
    history_hidden: bool = False
    server_version: str = ""
    owner: str = field(default="")


def canonical(text: str) -> str:
    """A definition without what may differ while it means the same: white space, aliases of "Person"."""
    text = " ".join(text.split())
    match = _ALIAS.search(text)
    while match:
        text = text[: match.start()] + match.group(1) + text[match.end() :]
        text = re.sub(rf"\b{match.group(2)}\.", '"Person".', text)
        match = _ALIAS.search(text)
    return text


def to_json(snapshot: Snapshot) -> str:
    """Canonical JSON: sorted, one line an object, so that a text diff of two files is readable, too."""
    document: dict[str, Any] = {
        "form": FORM,
        "server_version": snapshot.server_version,
        "owner": snapshot.owner,
        "history": None if snapshot.history is None else dict(sorted(snapshot.history.items())),
        "history_hidden": snapshot.history_hidden,
        "objects": [
            {"kind": key.kind, "name": key.name, "definition": text} for key, text in sorted(snapshot.entries.items())
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Snapshot:
    """The snapshot of a text that ``to_json`` wrote. Raises NoSnapshot."""
    try:
        document = json.loads(text)
        if document["form"] != FORM:
            raise NoSnapshot(f"expected the form {FORM!r}, found {document['form']!r}")
        history = document["history"]
        return Snapshot(
            entries={Key(one["kind"], one["name"]): str(one["definition"]) for one in document["objects"]},
            history=None if history is None else {str(version): str(name) for version, name in history.items()},
            history_hidden=bool(document["history_hidden"]),
            server_version=str(document["server_version"]),
            owner=str(document["owner"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoSnapshot(f"this is no snapshot made by `evercgm db snapshot` ({type(error).__name__})") from None
