"""The page's files as a browser gets them: compressed once, kept by the browser, and asked about each time.

Starlette's GZipMiddleware is not used (1.10 was tried): it gives both forms one strong tag, compresses for
``gzip;q=0``, compresses anew for each request, and its 304 and its HEAD do not say that the form varies.
"""

import gzip
import hashlib
import mimetypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from evercgm.api.negotiation import has_already, takes_gzip

# Fixed here, since the machine's own list of types may call a script something that no browser runs.
TEXTS: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
# More than the page has; an edited file is one more until the oldest goes.
MOST_KEPT = 64


@dataclass(frozen=True, slots=True)
class Form:
    """A file's bytes in one coding, and the strong tag of exactly these bytes."""

    body: bytes
    tag: str


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in the forms it can be sent in; ``packed`` is None where gzip would not make it smaller."""

    media_type: str
    plain: Form
    packed: Form | None


class Assets(StaticFiles):
    """Finds files as Starlette does, and answers with whole files from memory: no ranges, no times.

    The tag is made from the bytes, so that every machine gives the same one, whenever it was installed.
    """

    def file_response(
        self, full_path: os.PathLike[str] | str, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        asset = _load(os.fspath(full_path), stat_result.st_mtime_ns, stat_result.st_size)
        asked = Headers(scope=scope)
        packed = asset.packed if takes_gzip(asked.get("accept-encoding", "")) else None
        # Who refuses plain and cannot read gzip gets plain all the same: better than nothing (RFC 9110, 15.5.7).
        form = packed or asset.plain
        headers = {
            "Cache-Control": "no-cache",
            "ETag": form.tag,
            "Vary": "Accept-Encoding",
        }
        if has_already(asked.get("if-none-match", ""), form.tag):
            return Response(status_code=304, headers=headers)
        headers |= {"Content-Type": asset.media_type, "Content-Length": str(len(form.body)), "Accept-Ranges": "none"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        return Response(b"" if scope["method"] == "HEAD" else form.body, status_code, headers=headers)


@lru_cache(maxsize=MOST_KEPT)
def _load(path: str, _changed_ns: int, _size: int) -> Asset:
    """Reads and compresses once; time and size are asked for so that an edited file is read anew."""
    content = Path(path).read_bytes()
    text_type = TEXTS.get(Path(path).suffix)
    if text_type is None:
        return Asset(mimetypes.guess_type(path)[0] or "application/octet-stream", _form(content), None)
    packed = gzip.compress(content, 9, mtime=0)
    return Asset(text_type, _form(content), _form(packed) if len(packed) < len(content) else None)


def _form(body: bytes) -> Form:
    return Form(body, f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"')
