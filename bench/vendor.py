"""A static vendor, its own process: pre-rendered answers by their address, after a while if it is told so.

``python -m bench.vendor ANSWERS.json [SECONDS]``. An answer under the kind alone is given whatever the query.
"""

import asyncio
import json
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit


def key_of(target: str) -> str:
    """One name for an address, however its query is written."""
    parts = urlsplit(target)
    return parts.path.rpartition("/")[2] + "".join(f" {value}" for _name, value in sorted(parse_qsl(parts.query)))


async def serve(answers: dict[str, bytes], after_s: float) -> None:
    """Answer on a free port, which is printed, until we are ended."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = key_of(head.split(b" ", 2)[1].decode())
                answer = answers.get(target) or answers.get(target.partition(" ")[0])
                if answer is None:
                    print(f"not in the answers: {target}", file=sys.stderr)
                await asyncio.sleep(after_s)
                writer.write(answer or _NOT_FOUND)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _whole(body: str) -> bytes:
    raw = body.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    whole = {key: _whole(body) for key, body in given.items()}
    asyncio.run(serve(whole, float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
