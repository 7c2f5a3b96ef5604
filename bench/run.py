"""``python -m bench.run``: the bars, each beside the plain thing it is held against; prints one table.

``BIG=1`` in the environment runs those that need tens of gigabytes, too; else the table says that they were not run.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

from bench import (
    big_readings,
    connections_list,
    history_sync,
    import_file,
    incremental_sync,
    key_rotation,
    many_workers,
    million_readings,
    one_by_one,
    readings_api,
    scheduling,
    worker_memory,
)
from bench.kit import Bar, scratch_server
from evercgm.logs import set_up_logs
from evercgm.storage.embedded import Embedded

HEADINGS = ("bar", "ours", "plain", "ratio", "to reach", "")


async def run_all(server: Embedded, only: Sequence[str] = ()) -> list[Bar]:
    """Every bar in turn on one database, or those whose module is named."""
    measures = (
        *(history_sync, incremental_sync, one_by_one, readings_api, connections_list, key_rotation),
        *(import_file, many_workers, worker_memory, scheduling, million_readings, big_readings),
    )
    chosen = [one for one in measures if not only or one.__name__.rpartition(".")[2] in only]
    return [bar for one in chosen for bar in await one.run(server)]


def table(bars: Sequence[Bar]) -> str:
    """A Markdown table, and the notes below it."""
    verdicts = {True: "reached", False: "missed", None: ""}
    rows = [HEADINGS, *((b.name, b.ours, b.plain, b.ratio, b.reach, verdicts[b.reached]) for b in bars)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEADINGS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "| " + " | ".join("-" * max(width, 3) for width in widths) + " |")
    notes = [f"- {bar.name}: {note}" for bar in bars for note in bar.notes]
    return "\n".join([*lines, "", *notes])


if __name__ == "__main__":
    set_up_logs("ERROR")
    began = time.monotonic()
    with scratch_server() as database:
        print(table(asyncio.run(run_all(database, sys.argv[1:]))))
    print(f"\n{time.monotonic() - began:.0f} s in all; medians of interleaved rounds: trust the ratios.")
