"""Reads Prometheus's text format, strictly: a line of any other form is an error."""

import re

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_HELP = re.compile(rf"# HELP ({_NAME}) \S.*")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge)")
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> tuple[dict[str, str], Samples]:
    """Families by name with their types, and samples by name and labels; each sample after its own family's TYPE."""
    assert text.endswith("\n")
    families: dict[str, str] = {}
    samples: Samples = {}
    announced = current = ""
    for line in text.splitlines():
        if found := _HELP.fullmatch(line):
            announced = found[1]
        elif found := _TYPE.fullmatch(line):
            assert found[1] == announced, line
            assert found[1] not in families, line
            families[found[1]] = found[2]
            current = found[1]
        else:
            found = _SAMPLE.fullmatch(line)
            assert found, line
            assert found[1] == current, line
            key = (found[1], frozenset(_labels(found[2] or "")))
            assert key not in samples, line
            samples[key] = float(found[3])
    return families, samples


def _labels(text: str) -> list[tuple[str, str]]:
    labels = [(found[1], found[2]) for found in _LABEL.finditer(text)]
    assert sum(len(found[0]) for found in _LABEL.finditer(text)) == len(text), text
    assert len({name for name, _ in labels}) == len(labels), text
    return labels


def one(samples: Samples, name: str, **labels: str) -> float | None:
    """The sample of exactly these labels."""
    return samples.get((name, frozenset(labels.items())))
