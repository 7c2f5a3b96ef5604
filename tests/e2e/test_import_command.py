"""``evercgm import`` as an operator runs it, beside a running demo."""

import json
from pathlib import Path

from demo_process import Demo
from export_files import clarity, libreview
from series import stored


def test_a_file_is_imported_by_command_and_refused_by_its_options(demo: Demo, tmp_path: Path) -> None:
    person = json.loads(demo.command("person", "add", "Import", "--owner", demo.line["owner_id"]).stdout)["id"]
    good, bad, asks = tmp_path / "good.csv", tmp_path / "bad.csv", tmp_path / "asks.csv"
    good.write_bytes(clarity([("2026-03-13 08:00:00", 101, 300), ("2026-03-13 08:05:00", 104, 600)]))
    bad.write_bytes(clarity([("2026-03-13 08:00:00", "fast", 300)]))
    asks.write_bytes(libreview([("03-04-2026 08:00", 0, 95)]))
    zone = ("--time-zone", "Europe/Berlin")

    first = demo.command("import", str(good), "--person", person, *zone)
    again = demo.command("import", str(good), "--person", person, *zone, "--json")
    refused = demo.command("import", str(bad), "--person", person, *zone)
    no_zone = demo.command("import", str(good), "--person", person)
    no_order = demo.command("import", str(asks), "--person", person, *zone)
    nobody = demo.command("import", str(good), "--person", "nobody", *zone)
    no_file = demo.command("import", str(tmp_path / "none.csv"), "--person", person, *zone)

    assert first.returncode == 0, first.stderr
    assert (
        first.stdout
        == "Dexcom Clarity, 2026-03-13 to 2026-03-13: 2 imported, 0 known already (0 corrected), 0 lines skipped\n"
    )
    assert "readings stored" in first.stderr
    told = json.loads(again.stdout)
    assert (told["imported"], told["known"], told["format"]) == (0, 2, "clarity")
    assert [one.returncode for one in (refused, no_zone, no_order, nobody, no_file)] == [2] * 5
    assert "FILE: line 4, column 8 (Glucose Value (mg/dL)): fast is neither" in refused.stderr
    assert "--time-zone: " in no_zone.stderr
    assert "--date-order: " in no_order.stderr
    assert "(day_first, month_first)" in no_order.stderr
    assert "--person: there is no such person here" in nobody.stderr
    assert "none.csv cannot be read" in no_file.stderr
    assert [value for _, value in stored(demo, person)] == [101, 104]
