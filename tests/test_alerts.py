"""The alert rules: each uses metrics and labels that we tell, and says what to do; the page lists all of them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from evercgm.actions.load import FAMILIES

DOCS = Path(__file__).resolve().parents[1] / "docs"
BY_NAME = {family.name: family for family in FAMILIES}
# The rest of what a rule may name: PromQL's own words, and Prometheus's metric of a target.
WORDS = {"sum", "max", "min", "by", "rate", "increase", "and", "or", "unless", "up", "job"}
_METRIC = re.compile(r"(evercgm_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(=~|=|!=|!~)"([^"]*)"')


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_names_only_what_is_told_and_says_what_to_do(rule: dict[str, Any]) -> None:
    expression = rule["expr"]
    used = _METRIC.findall(expression)
    labels = {label for name, _ in used for label in BY_NAME[name].labels}

    assert used or 'up{job="evercgm"}' in expression
    for name, matchers in used:
        found = _MATCHER.findall(matchers)
        assert ",".join(f'{a}{b}"{c}"' for a, b, c in found) == matchers.replace(", ", ",")
        assert {label for label, _, _ in found} <= set(BY_NAME[name].labels)
    for group in re.findall(r"by \(([^)]*)\)", expression):
        assert set(group.split(", ")) <= labels
    rest = _MATCHER.sub("", _METRIC.sub("", re.sub(r"by \([^)]*\)", "", expression)))
    assert set(re.findall(r"[a-z_]+(?!\w)", re.sub(r"\[\d+[mh]\]", "", rest))) <= WORDS
    assert expression.count("(") == expression.count(")")
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "action"}
    assert all(text.endswith(".") for text in rule["annotations"].values())
    assert len(rule["annotations"]["action"].split()) >= 8
    for label in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
        assert label in labels | {"instance"}


def test_a_rate_is_taken_of_counters_alone() -> None:
    for rule in rules():
        counted = set(re.findall(r"(?:rate|increase)\((evercgm_\w+)", rule["expr"]))
        named = {name for name, _ in _METRIC.findall(rule["expr"])}

        assert {name for name in named if BY_NAME[name].kind == "counter"} == counted


def test_the_reasons_and_states_in_rules_are_ours() -> None:
    from evercgm.core.connection import MESSAGES

    for rule in rules():
        for _, matchers in _METRIC.findall(rule["expr"]):
            for label, _, values in _MATCHER.findall(matchers):
                known = {
                    "reason": set(MESSAGES), "outcome": {"succeeded", "nothing_new", "failed", "cancelled"},
                    "state": {"open", "closed", "half_open", "waiting", "running"},
                    "caller": {"person", "background"}, "result": {"renewed", "refused", "failed"},
                }[label]  # fmt: skip
                assert set(values.split("|")) <= known


def test_the_page_lists_every_metric_with_its_labels_and_no_other() -> None:
    listed = re.findall(r"^\| `(evercgm_\w+)(?:\{([^}]*)\})?` \|", (DOCS / "operation.md").read_text(), re.MULTILINE)

    assert {(name, labels) for name, labels in listed} == {(f.name, ",".join(f.labels)) for f in FAMILIES}


def test_names_of_alerts_are_given_once() -> None:
    names = [rule["alert"] for rule in rules()]

    assert len(set(names)) == len(names)
