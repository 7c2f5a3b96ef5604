"""The text for Prometheus, and that no label can name a person."""

from evercgm.actions.load import FAMILIES
from evercgm.core.counts import LABELS, Counts, Family, Sample, exposition

WAITS = Family("waits_total", "counter", 'Waits of a \\ and a\nline, "quoted".', ("region", "why"))
AGE = Family("age_seconds", "gauge", "An age.")


def test_every_family_is_told_with_its_samples_sorted_and_escaped() -> None:
    process = Counts()
    process.add(WAITS, "us", 'a "b"\\\n')
    process.add(WAITS, "eu", "x")
    process.add(WAITS, "eu", "x", by=2)

    assert exposition([WAITS, AGE], process.samples()) == (
        '# HELP waits_total Waits of a \\\\ and a\\nline, "quoted".\n'
        "# TYPE waits_total counter\n"
        'waits_total{region="eu",why="x"} 3\n'
        'waits_total{region="us",why="a \\"b\\"\\\\\\n"} 1\n'
        "# HELP age_seconds An age.\n"
        "# TYPE age_seconds gauge\n"
    )


def test_values_are_numbers_as_prometheus_reads_them() -> None:
    told = exposition([AGE], [Sample(AGE, (), True), Sample(AGE, (), 1.5), Sample(AGE, (), 1e21), Sample(AGE, (), 0)])

    assert [line.split()[1] for line in told.splitlines()[2:]] == ["1", "1.5", "1000000000000000000000", "0"]


def test_a_value_that_is_set_replaces_the_one_before() -> None:
    process = Counts()
    process.set(AGE, to=3)
    process.set(AGE, to=2)

    assert process.of(AGE) == 2
    assert process.of(WAITS, "us", "x") == 0


def test_metrics_have_names_of_ours_and_labels_that_name_nobody() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert family.name.startswith("evercgm_")
        assert (family.kind == "counter") == family.name.endswith("_total")
        assert set(family.labels) <= set(LABELS)
        assert family.told.endswith(".")
