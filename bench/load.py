"""Asks one address, or many at random, over kept connections. ``bench.load PORT TARGET TOKEN_FILE N SECONDS``.

``TARGET`` may be ``@FILE``: an address a line, each asked with the token of the same line of ``TOKEN_FILE``.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path


async def load(port: int, asked: Sequence[tuple[str, str]], concurrency: int, seconds: float) -> dict[str, float]:
    """Requests per second, the 99th percentile, and the bytes of the longest answer; every answer must be a 200.

    ``asked``: addresses and tokens; each call takes one of them at random.
    """
    requests = [
        f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        for target, token in asked
    ]
    took: list[float] = []
    sizes: set[int] = set()
    until = time.perf_counter() + seconds

    async def ask(chance: random.Random) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < until:
            writer.write(chance.choice(requests))
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head[:16]:
                raise RuntimeError(head.decode())
            length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            sizes.add(len(await reader.readexactly(length)))
            took.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(ask(random.Random()) for _ in range(concurrency)))
    took.sort()
    return {"rate": len(took) / seconds, "p99_ms": took[len(took) * 99 // 100] * 1000, "bytes": max(sizes)}


def what_to_ask(target: str, token_file: Path) -> list[tuple[str, str]]:
    """The addresses with their tokens."""
    targets = Path(target[1:]).read_text().splitlines() if target.startswith("@") else [target]
    return list(zip(targets, token_file.read_text().splitlines(), strict=True))


if __name__ == "__main__":
    port_text, what, token_path, how_many, how_long = sys.argv[1:]
    given = what_to_ask(what, Path(token_path))
    print(json.dumps(asyncio.run(load(int(port_text), given, int(how_many), float(how_long)))))
