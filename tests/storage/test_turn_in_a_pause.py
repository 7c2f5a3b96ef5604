"""While a vendor's region is paused a turn of the scheduler does not read what is overdue there, nor does the gauge."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pytest
from bench.crowd import Size
from hot_list import BOUNDED
from hot_path import Run, crowded, grown, looked_over, run_on_a_copy
from plans import by_name

FEW, MANY = 300, 3_000
CROWD = Size(4_000, 1, 1)
# So many are overdue in the region "us", and behind them all a few in "eu".
OVERDUE = """
with chosen as (
  select c.id, row_number() over (order by c.id) as place
  from public.cgm_connections c
  where c.status = 'connected'
)
update cgm_private.sync_state s
   set region = case when chosen.place <= 20 then 'eu' else 'us' end,
       next_sync_at = case when chosen.place <= 20 then now() - interval '1 minute'
                           when chosen.place <= 20 + {overdue} then now() - interval '1 hour'
                           else now() + interval '6 hours' end
  from chosen
 where s.connection_id = chosen.id
"""
REST = "update cgm_private.sync_state set next_sync_at = null where next_sync_at <= now()"
PAUSE = """
insert into cgm_private.provider_pauses (provider, region, until, reason)
values ('dexcom', '{region}', now() + interval '{lasts}', 'rate_limited')
"""
# The region that is held; its pause goes on, or has ended and waits for the answer to its probe.
HELD = {
    "paused": ("us", "1 hour"),
    "waits for its probe": ("us", "-1 second"),
    "behind the others": ("eu", "-1 second"),
}


def changes(overdue: int, held: str) -> Sequence[str]:
    region, lasts = HELD[held]
    pause = PAUSE.format(region=region, lasts=lasts)
    return (REST, OVERDUE.format(overdue=overdue), pause, "vacuum analyze")


@pytest.fixture(scope="module")
def crowd(postgres: Any, template_of: Any) -> Iterator[Any]:
    with crowded(postgres, template_of(True)) as grow:
        yield grow(CROWD)


def among_few_and_many(postgres: Any, crowd: Any, held: str, deed: str) -> tuple[Run, Run]:
    few, many = (run_on_a_copy(postgres, crowd, changes(overdue, held), (deed,)) for overdue in (FEW, MANY))
    return few, many


def rows_of(run: Run, name: str, but_for: Collection[str] = ()) -> int:
    """Rows and index entries that a query looked at; ``but_for`` those of some tables."""
    return sum(one.rows(but_for) for one in by_name([one for told in run.values() for one in told])[name])


@pytest.mark.parametrize("held", HELD)
def test_a_turn_looks_at_no_more_however_many_are_overdue_in_one_region(postgres: Any, crowd: Any, held: str) -> None:
    few, many = among_few_and_many(postgres, crowd, held, "a_short_turn")

    assert grown(few, many) == []
    assert rows_of(many, "connections.due") == rows_of(few, "connections.due") < FEW
    assert "connections.due" not in looked_over(many, BOUNDED)


def test_the_gauge_of_what_is_due_does_not_read_what_waits_for_the_end_of_a_pause(postgres: Any, crowd: Any) -> None:
    few, many = among_few_and_many(postgres, crowd, "paused", "looks")

    # It counts up to 100,000: how those are matched with their connections is chosen by cost.
    by_cost = ("cgm_connections",)
    assert grown(few, many, by_cost) == []
    assert rows_of(many, "gauges.due", by_cost) == rows_of(few, "gauges.due", by_cost) < FEW
    assert "sync_state" not in looked_over(many, BOUNDED).get("gauges.due", ())
