"""Which of the server's words may be shown, and how: on one line, and never those of a function of the host app.

Behind an index, a trigger or an event trigger, such a function may say whatever it likes while a migration runs, rows
and their tokens included.
"""

import re

from psycopg.errors import Diagnostic

# Classes of SQLSTATE whose sentences name objects and never hold a value of a row.
_WITHOUT_VALUES = ("01", "08", "0A", "23", "25", "28", "2B", "40", "42", "53", "54", "55", "57", "58")
_RAISED = "exec_stmt_raise"
# Cancelled, timed out, ended: whatever ran then has no part in the words.
_INTERRUPTED = "ProcessInterrupts"
_OUR_FRAME = re.compile(r"\binline_code_block\b(?!\()|\bcgm_private\.\w+\(")
# Where the server did it for a statement, or for a statement in a block, of ours. In other languages than English
# nothing is known of it.
_KNOWN_FRAME = re.compile(r'SQL statement "|PL/pgSQL function (?:inline_code_block |cgm_private\.)')
_STRANGER = re.compile(r'^(?:PL/\w+|SQL) function "?(?!inline_code_block |cgm_private\.)([^\s"(]+)', re.MULTILINE)


def is_ours(said: Diagnostic) -> bool:
    """Whether a block of one of our files, or a function of ours, raised this itself."""
    frames = (said.context or "").splitlines()
    return said.source_function == _RAISED and bool(frames) and _is_our_frame(frames)


def _is_our_frame(frames: list[str]) -> bool:
    found = _OUR_FRAME.search(frames[0])
    # A block inside a function of the host app is theirs.
    return found is not None and (len(frames) == 1 or found.group().startswith("cgm_private"))


def may_be_told(said: Diagnostic) -> bool:
    """Whether the sentence is ours, or the server's own and without values of rows."""
    if said.source_function == _RAISED:
        return is_ours(said)
    if said.source_function == _INTERRUPTED:
        return True
    context = said.context or ""
    known = not context or (_KNOWN_FRAME.match(context) is not None and _STRANGER.search(context) is None)
    return known and (said.sqlstate or "").startswith(_WITHOUT_VALUES)


def place_of(said: Diagnostic) -> str:
    """The object that stands behind an error that may not be told: the host app's function, or a table."""
    stranger = _STRANGER.search(said.context or "")
    if stranger is not None:
        return f"function {as_line(stranger.group(1))}"
    if said.table_name:
        return f"table {as_line(said.table_name)}"
    return "the database"


def as_line(text: str) -> str:
    """A sentence on one line: what does not print is escaped."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def as_word(text: str) -> str:
    """An id or a name as one word: in quotes, and escaped, where it has blanks or what does not print."""
    return text if text.isprintable() and " " not in text else repr(text)
