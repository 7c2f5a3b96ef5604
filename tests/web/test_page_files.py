"""The page as files: nothing that a strict Content-Security-Policy would refuse, and every address leads somewhere."""

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import evercgm

WEB = Path(evercgm.__file__).parent / "web"
OWN_SCRIPTS = sorted(WEB.glob("*.js"))
# From the npm package uplot 1.6.32, unchanged.
VENDORED = {
    "uPlot.esm.js": "5dd9b3281aa64b461b42d9945f6adb2649d346502b12281a9ae0d46599a80eba",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text inside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in {"script", "style"}:
            self.inline += data.strip()


@pytest.fixture(name="page")
def _page() -> Elements:
    elements = Elements()
    elements.feed((WEB / "index.html").read_text(encoding="utf-8"))
    return elements


def test_the_page_has_no_inline_script_style_or_handler(page: Elements) -> None:
    assert page.inline == ""
    refused = [(tag, name) for tag, attributes in page.tags for name in attributes if re.match(r"on|style$", name)]
    assert refused == []


def test_every_asset_the_page_names_is_there(page: Elements) -> None:
    named = [value for _, attributes in page.tags for name, value in attributes.items() if name in {"src", "href"}]
    assets = [value.removeprefix("/assets/") for value in named if value and value.startswith("/assets/")]

    assert [value for value in named if value and not value.startswith(("/assets/", "#"))] == ["/"]
    assert [asset for asset in assets if not (WEB / asset).is_file()] == []
    assert "page.js" in assets


def test_ids_are_unique_and_every_label_has_its_control(page: Elements) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    referred = [
        one
        for _, attributes in page.tags
        for name in ("for", "aria-labelledby", "aria-describedby")
        for one in (attributes.get(name) or "").split()
    ]

    assert len(ids) == len(set(ids))
    assert set(referred) <= set(ids)


@pytest.mark.parametrize("script", OWN_SCRIPTS, ids=lambda script: script.name)
def test_a_script_imports_only_files_that_exist(script: Path) -> None:
    imported = re.findall(r"^import .* from '(.+)';$", script.read_text(encoding="utf-8"), re.MULTILINE)

    assert [name for name in imported if not (WEB / name).is_file()] == []


@pytest.mark.parametrize("script", OWN_SCRIPTS, ids=lambda script: script.name)
def test_a_script_never_turns_text_into_markup_or_code(script: Path) -> None:
    dangerous = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|javascript:"

    assert re.findall(dangerous, script.read_text(encoding="utf-8")) == []


def test_every_id_a_script_asks_for_is_on_the_page(page: Elements) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    scripts = "".join(script.read_text(encoding="utf-8") for script in OWN_SCRIPTS)
    asked = set(re.findall(r"(?:byId|setText|fromTemplate)\('([\w-]+)'", scripts))

    assert asked - ids == set()


@pytest.mark.parametrize("name", sorted(VENDORED))
def test_the_vendored_chart_library_is_unchanged(name: str) -> None:
    assert hashlib.sha256((WEB / "vendor" / name).read_bytes()).hexdigest() == VENDORED[name]


def test_the_page_says_once_that_it_is_for_information_only() -> None:
    text = (WEB / "index.html").read_text(encoding="utf-8")

    assert text.count("For information only, not for treatment decisions.") == 1
