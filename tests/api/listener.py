"""A server on a real socket that writes down what it is told, and who calls at all."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@dataclass
class Listener:
    """A server that writes down all that it is told, and answers each request alike."""

    address: str
    told: list[bytes] = field(default_factory=list)
    callers: int = 0


@asynccontextmanager
async def listening(answer: bytes = OK, tls: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener.callers += 1
        listener.told.append(await reader.read(65_536))
        writer.write(answer)
        await writer.drain()
        writer.close()

    # Refused handshakes are the point here, not news.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    server = await asyncio.start_server(hear, "127.0.0.1", 0, ssl=tls)
    listener = Listener(f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        yield listener


def answer_with(body: bytes, content_type: str = "application/json") -> bytes:
    """A whole answer as it goes over the line."""
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
