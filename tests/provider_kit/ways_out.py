"""Reads source text for every way to the network, however it is spelled; runs nothing.

Not seen: what another program does that we start, and the database's own driver (import contracts hold that).
"""

import ast
from collections.abc import Iterator

CLIENT = "httpx2"
# They describe a call and make none.
HARMLESS = {
    *("Timeout", "URL", "Request", "Response", "codes", "AsyncBaseTransport"),
    *("HTTPError", "StreamError", "DecodingError", "InvalidURL"),
}
MODULES = {
    *("urllib.request", "urllib3", "http.client", "xmlrpc.client", "requests", "aiohttp"),
    *("httpx", "httpcore", "httpcore2"),
    *("socket", "_socket", "socketserver", "smtplib", "ftplib", "imaplib", "poplib", "nntplib", "telnetlib"),
    *("websocket", "websockets", "pycurl", "paramiko", "anyio", "trio"),
    "sys.modules",
}  # fmt: skip
# Of whatever object: an event loop has no import of its own.
NAMES = {
    *("open_connection", "open_unix_connection", "create_connection", "create_unix_connection"),
    *("create_datagram_endpoint", "sock_connect", "import_module", "__import__", "eval", "exec"),
}


def ways_out(source: str) -> set[str]:
    """What can reach the network, by its full name; a client that a type only names is none."""
    tree = ast.parse(source)
    known = dict(_imported(tree))
    types = {id(node) for part in _types(tree) for node in ast.walk(part)}
    found = {name for name in known.values() if _reaches(name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found |= {name for name in _names(node, known) if _reaches(name) and id(node) not in types}
        elif isinstance(node, ast.Name) and id(node) not in types:
            found |= {node.id} & NAMES
        elif isinstance(node, ast.Constant) and node.value in NAMES:
            found.add(node.value)
    return found | _handed_on(tree, known)


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Local name and full name of everything that is imported, in whatever block."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, alias.name
                if not alias.asname:
                    top = alias.name.partition(".")[0]
                    yield top, top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module or ''}.{alias.name}"


def _types(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            yield node.returns
        elif isinstance(node, ast.Subscript) and not any(isinstance(part, ast.Call) for part in ast.walk(node.slice)):
            yield node.slice


def _names(node: ast.Attribute, known: dict[str, str]) -> set[str]:
    """The full name of ``a.b.c`` where ``a`` was imported; else only its last word can be told."""
    words, here = [node.attr], node.value
    while isinstance(here, ast.Attribute):
        words.append(here.attr)
        here = here.value
    if isinstance(here, ast.Name) and here.id in known:
        return {".".join((known[here.id], *reversed(words)))}
    return {node.attr}


def _reaches(name: str) -> bool:
    words = name.split(".")
    if words[0] == CLIENT:
        return len(words) > 1 and words[1] not in HARMLESS
    return words[-1] in NAMES or any(".".join(words[:length]) in MODULES for length in (1, 2))


def _handed_on(tree: ast.AST, known: dict[str, str]) -> set[str]:
    """The client's module given to something else, as ``getattr`` takes it."""
    used = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {
        CLIENT
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and known.get(node.id) == CLIENT and id(node) not in used
    }
