"""Asks one address again and again over kept connections. ``python -m bench.load PORT TARGET TOKEN_FILE N SECONDS``."""

import asyncio
import json
import sys
import time
from pathlib import Path


async def load(port: int, target: str, token: str, concurrency: int, seconds: float) -> dict[str, float]:
    """Requests per second, the 99th percentile, and the bytes of an answer; every answer must be a 200."""
    request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    took: list[float] = []
    sizes: set[int] = set()
    until = time.perf_counter() + seconds

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < until:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head[:16]:
                raise RuntimeError(head.decode())
            length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            sizes.add(len(await reader.readexactly(length)))
            took.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(concurrency)))
    took.sort()
    return {"rate": len(took) / seconds, "p99_ms": took[len(took) * 99 // 100] * 1000, "bytes": max(sizes)}


if __name__ == "__main__":
    port_text, asked, token_file, how_many, how_long = sys.argv[1:]
    given = Path(token_file).read_text()
    print(json.dumps(asyncio.run(load(int(port_text), asked, given, int(how_many), float(how_long)))))
