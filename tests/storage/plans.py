"""What PostgreSQL did for each statement of a connection, told by its own auto_explain: plan, indexes, pages read."""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import psycopg
from psycopg import sql

from evercgm.storage.database import load_queries

Node = dict[str, Any]
# Set on a database by a superuser: they hold for whoever connects, and no statement has to be altered. Statements of
# triggers and of foreign keys are told as well.
_EXPLAINED = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
    "auto_explain.log_nested_statements": "on",
}
_PARAMETER = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that was carried out. ``name``: file and name of ours, or the text of somebody else's."""

    name: str
    plan: Node

    def pages(self, but_for: Collection[str] = ()) -> int:
        """Pages of 8 kB that were looked at, whether in memory or not; ``but_for`` those of some tables."""
        roots = [node for node in nodes(self.plan) if node is self.plan or _writes_apart(node)]
        return sum(map(_pages, roots)) - sum(map(_pages, _reads_of(self.plan, but_for)))

    def rows(self, but_for: Collection[str] = ()) -> int:
        """Rows and index entries that were looked at, those among them that were of no use, too."""
        leaves = (n for n in nodes(self.plan) if "Relation Name" in n or n["Node Type"] == "Bitmap Index Scan")
        return sum(_rows(node) for node in leaves if node.get("Relation Name") not in but_for)

    @property
    def indexes(self) -> set[str]:
        return {node["Index Name"] for node in nodes(self.plan) if "Index Name" in node}

    @property
    def scanned_whole(self) -> set[str]:
        """Tables that were read from one end to the other."""
        return {node["Relation Name"] for node in nodes(self.plan) if node["Node Type"] == "Seq Scan"}


@dataclass(slots=True)
class Ear:
    """Hears the plans of a connection's statements."""

    names: dict[str, str]
    heard: list[Statement] = field(default_factory=list)

    def listen(self, conn: psycopg.AsyncConnection[Any]) -> None:
        conn.add_notice_handler(self._hear)

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        message = notice.message_primary or ""
        if not message.startswith("duration: "):
            return
        told = json.loads(message[message.index("{") :])
        text = told["Query Text"]
        self.heard.append(Statement(self.names.get(text, " ".join(text.split())), told["Plan"]))


def explain_from_now_on(admin_dsn: str) -> None:
    """Whoever connects to this database from now on is told the plan of each statement."""
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        name = sql.Identifier(admin.info.dbname)
        for setting, value in _EXPLAINED.items():
            words = sql.SQL("alter database {} set {} = {}").format(name, sql.Identifier(setting), sql.Literal(value))
            admin.execute(words)


def named_queries() -> dict[str, str]:
    """The text of each named query of the service, by ``file.name``; what makes and checks a schema is not its work."""
    files = [file.name for file in resources.files("evercgm.storage").iterdir() if file.name.endswith(".sql")]
    return {f"{file[:-4]}.{name}": text for file in files for name, text in load_queries(file).items()}


def names_by_sent_text() -> dict[str, str]:
    """The names by the text that reaches the server."""
    return {_as_sent(text): name for name, text in named_queries().items()}


def _as_sent(query: str) -> str:
    """The driver numbers named parameters in the order in which they first appear."""
    numbers: dict[str, int] = {}
    text = _PARAMETER.sub(lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}", query)
    return text.replace("%%", "%")


def nodes(plan: Node) -> Iterator[Node]:
    """A plan's nodes, the root first."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def _reads_of(plan: Node, tables: Collection[str]) -> Iterator[Node]:
    """The nodes that read these tables, with the lock on the row that was found: whether that looks at one page or at
    two hangs on whether a vacuum found nobody in its way."""
    children = plan.get("Plans", [])
    locks = plan["Node Type"] == "LockRows" and len(children) == 1
    if (children[0] if locks else plan).get("Relation Name") in tables:
        yield plan
        return
    for child in children:
        yield from _reads_of(child, tables)


def _pages(node: Node) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def _rows(node: Node) -> int:
    unused = sum(node.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
    return int((node["Actual Rows"] + unused) * node["Actual Loops"])


def _writes_apart(node: Node) -> bool:
    """A writing part of a WITH may run after its statement, whose own count then lacks it."""
    return node["Node Type"] == "ModifyTable" and str(node.get("Subplan Name", "")).startswith("CTE ")


def by_name(statements: Sequence[Statement]) -> dict[str, list[Statement]]:
    """Statements of the same name together."""
    found: dict[str, list[Statement]] = {}
    for statement in statements:
        found.setdefault(statement.name, []).append(statement)
    return found
