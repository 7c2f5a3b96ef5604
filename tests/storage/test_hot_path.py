"""Every query of the hot path uses its index, and none grows with other people's data: as it is run, on two sizes.

The same at two million readings: tests/proof/test_two_million_readings.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from bench.crowd import LONG_HISTORY, Size
from hot_list import BOUNDED, COLD, COUNTS_ALL_OF_ONES_OWN, HOT
from hot_path import SHAPES, Run, crowded, grown, looked_over, not_by_index, run_on_a_copy
from plans import named_queries

FEW, MANY = Size(2_000, 50, 600), Size(8_000, 200, 600)
EVERYBODY_IS_DUE = ("update cgm_private.sync_state set next_sync_at = now() - random() * interval '1 hour'", "analyze")


@dataclass(frozen=True)
class Told:
    """All deeds among few and among many, by shape; among many, of somebody with a long history; turns after a rest."""

    few: Mapping[str, Run]
    many: Mapping[str, Run]
    long: Run
    turns: Sequence[Run]


@pytest.fixture(scope="module")
def told(postgres: Any, template_of: Any) -> Iterator[Told]:
    turns: list[Run] = []
    runs: list[dict[str, Run]] = []
    with crowded(postgres, template_of(True)) as grow:
        for size in (FEW, MANY):
            database = grow(size)
            runs.append({shape: run_on_a_copy(postgres, database, changes) for shape, changes in SHAPES.items()})
            turns.append(run_on_a_copy(postgres, database, EVERYBODY_IS_DUE, ("a_short_turn",)))
        yield Told(*runs, run_on_a_copy(postgres, database, LONG_HISTORY), turns)


def test_every_named_query_is_hot_or_has_a_reason_not_to_be() -> None:
    cold = [name for names in COLD.values() for name in names]

    assert sorted([*HOT, *cold]) == sorted(named_queries())


@pytest.mark.parametrize("shape", SHAPES)
def test_every_hot_query_was_run_and_used_its_index(told: Told, shape: str) -> None:
    assert not_by_index(told.many[shape], HOT) == {}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_table_that_grows_is_read_from_end_to_end(told: Told, shape: str) -> None:
    # Without an index on "ownerId" whoever asks for all that is theirs is found by reading the persons.
    allowed = {*BOUNDED, *(["Person"] if shape != "standalone" else [])}

    assert looked_over(told.many[shape], allowed) == {}


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_grows_with_other_peoples_data(told: Told, shape: str) -> None:
    but_for = () if shape == "standalone" else ("Person",)

    assert grown(told.few[shape], told.many[shape], but_for) == []


def test_a_long_history_of_ones_own_costs_no_more(told: Told) -> None:
    more = grown(told.many["standalone"], told.long)

    assert sorted({one.statement for one in more}) == sorted(COUNTS_ALL_OF_ONES_OWN)


def test_a_turn_of_the_scheduler_reads_what_it_takes_however_many_are_due(told: Told) -> None:
    assert grown(*told.turns) == []


def test_what_reads_everybodys_would_be_seen(postgres: Any, template_of: Any) -> None:
    """The same looks without three of the indexes."""
    spoilt = (
        "drop index public.glucose_readings_person_id_timestamp_idx",
        "drop index cgm_private.sync_state_next_sync_at_idx",
        "drop index cgm_private.audit_events_person_id_at_idx",
    )
    with crowded(postgres, template_of(True)) as grow:
        few, many = (
            run_on_a_copy(postgres, grow(size), spoilt, ("pages_of_readings", "histories", "schedule"))
            for size in (Size(500, 25, 300), Size(2_000, 100, 300))
        )

    everybodys = {"views.readings", "views.audit_events", "connections.due"}
    assert {one.statement for one in grown(few, many)} >= everybodys
    assert looked_over(many, BOUNDED).keys() >= everybodys
    assert not_by_index(many, {name: HOT[name] for name in everybodys}).keys() == everybodys
