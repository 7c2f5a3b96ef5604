"""The list of attacks names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "docs" / "security-tests.md"


def test_every_test_that_the_list_of_attacks_names_is_there() -> None:
    missing = []
    file, seen = "", 0
    for name in re.findall(r"`([\w/]+\.py|test_\w+)`", LIST.read_text()):
        if name.endswith(".py"):
            file = (ROOT / "tests" / name).read_text()
            continue
        seen += 1
        if not re.search(rf"^(async )?def {name}\(", file, re.MULTILINE):
            missing.append(name)

    assert missing == []
    assert seen > 70
