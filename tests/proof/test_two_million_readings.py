"""tests/storage/test_hot_path.py at two million readings of 200 persons, held against 500,000 of 50."""

from collections.abc import Iterator
from typing import Any

import pytest
from bench.crowd import Size
from hot_list import BOUNDED, HOT
from hot_path import SHAPES, Run, crowded, grown, looked_over, not_by_index, run_on_a_copy

FEW, MANY = Size(5_000, 50, 10_000), Size(20_000, 200, 10_000)


@pytest.fixture(scope="module")
def told(postgres: Any, template_of: Any) -> Iterator[dict[str, tuple[Run, Run]]]:
    """By shape: all deeds among few, and among many."""
    with crowded(postgres, template_of(True)) as grow:
        few, many = (
            {shape: run_on_a_copy(postgres, database, changes) for shape, changes in SHAPES.items()}
            for database in map(grow, (FEW, MANY))
        )
        yield {shape: (few[shape], many[shape]) for shape in SHAPES}


@pytest.mark.parametrize("shape", SHAPES)
def test_two_million_readings_are_met_by_index_and_cost_no_more_than_few(
    told: dict[str, tuple[Run, Run]], shape: str
) -> None:
    few, many = told[shape]
    persons = ["Person"] if shape != "standalone" else []

    assert not_by_index(many, HOT) == {}
    assert looked_over(many, {*BOUNDED, *persons}) == {}
    assert grown(few, many, persons) == []
