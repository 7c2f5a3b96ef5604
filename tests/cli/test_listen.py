"""The socket that serve listens on."""

import asyncio
import socket

from evercgm.cli.serve import listen


async def test_small_answers_are_sent_at_once() -> None:
    told: asyncio.Queue[int] = asyncio.Queue()

    async def met(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.put_nowait(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = listen("127.0.0.1", 0)
    async with await asyncio.start_server(met, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await told.get() != 0
        writer.close()
        await writer.wait_closed()
