"""The page's files over HTTP: small on the wire, asked for anew at little cost, and never out of their folder."""

import gzip
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from evercgm.api.app import WEB
from evercgm.api.assets import MOST_KEPT, Assets
from evercgm.api.negotiation import takes_gzip

CHART = "/assets/vendor/uPlot.esm.js"
PAGE_AND_FILES = ["/", "/assets/index.html", "/assets/page.js", "/assets/style.css", "/assets/mark.svg", CHART]


async def raw(client: httpx2.AsyncClient, path: str, coding: str, **headers: str) -> tuple[httpx2.Response, bytes]:
    """The answer, and its body as it travels."""
    async with client.stream("GET", path, headers={"accept-encoding": coding, **headers}) as answer:
        return answer, b"".join([part async for part in answer.aiter_raw()])


def file_of(path: str) -> bytes:
    return (WEB / (path.removeprefix("/assets/").removeprefix("/") or "index.html")).read_bytes()


@pytest.mark.parametrize("path", PAGE_AND_FILES)
async def test_a_text_travels_compressed_and_arrives_unchanged(client: httpx2.AsyncClient, path: str) -> None:
    answer, body = await raw(client, path, "gzip, deflate, br")

    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == file_of(path)
    assert int(answer.headers["content-length"]) == len(body) < len(file_of(path))
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", PAGE_AND_FILES)
@pytest.mark.parametrize("coding", ["identity", "", "br", "gzip;q=0", "gzip;q=0, *", "gzip;q=0.1, identity", "*;q=0"])
async def test_who_cannot_or_will_not_read_gzip_gets_the_file_as_it_is(
    client: httpx2.AsyncClient, path: str, coding: str
) -> None:
    answer, body = await raw(client, path, coding)

    assert "content-encoding" not in answer.headers
    assert body == file_of(path)
    assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("gzip", True),
        ("GZIP;Q=0.001", True),
        ("identity;q=0, gzip;q=0.1", True),
        ("*;q=0.5", True),
        ("gzip, identity", True),
        ("gzip;q=0.000", False),
        ("identity;q=0", False),
        ("gzip;q=x", False),
        ("gzipped", False),
    ],
)
def test_gzip_is_sent_only_where_it_is_asked_for(asked: str, expected: bool) -> None:
    assert expected == takes_gzip(asked)


@pytest.mark.parametrize("path", PAGE_AND_FILES)
@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_head_tells_the_same_as_get_without_the_body(client: httpx2.AsyncClient, path: str, coding: str) -> None:
    got, body = await raw(client, path, coding)
    head = await client.head(path, headers={"accept-encoding": coding})

    assert {**head.headers, "x-request-id": ""} == {**got.headers, "x-request-id": ""}
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(body)


@pytest.mark.parametrize("path", PAGE_AND_FILES)
async def test_each_form_has_its_own_strong_tag_and_only_its_tag_says_unchanged(
    client: httpx2.AsyncClient, path: str
) -> None:
    packed, _ = await raw(client, path, "gzip")
    plain, _ = await raw(client, path, "identity")
    tags = packed.headers["etag"], plain.headers["etag"]
    assert tags[0] != tags[1]
    assert all(tag.startswith('"') for tag in tags)

    for tag, coding in zip(tags, ("gzip", "identity"), strict=True):
        again, body = await raw(client, path, coding, **{"if-none-match": f'"x", W/{tag}'})
        assert (again.status_code, body) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["vary"] == "Accept-Encoding"
        assert again.headers["cache-control"] == "no-cache"
        assert "content-encoding" not in again.headers
    crossed, body = await raw(client, path, "identity", **{"if-none-match": tags[0]})
    assert (crossed.status_code, body) == (200, file_of(path))


async def test_a_part_is_not_offered_and_a_time_is_no_tag(client: httpx2.AsyncClient) -> None:
    later = "Fri, 01 Jan 2100 00:00:00 GMT"
    for headers in ({"range": "bytes=10-20"}, {"if-modified-since": later}):
        answer, body = await raw(client, CHART, "identity", **headers)

        assert (answer.status_code, body) == (200, file_of(CHART))
        assert answer.headers["accept-ranges"] == "none"
        assert "last-modified" not in answer.headers


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("page.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("index.html", "text/html; charset=utf-8"),
        ("mark.svg", "image/svg+xml"),
        ("vendor/uPlot.LICENSE.txt", "text/plain; charset=utf-8"),
    ],
)
async def test_a_file_says_what_it_is(client: httpx2.AsyncClient, name: str, expected: str) -> None:
    assert (await client.get(f"/assets/{name}")).headers["content-type"] == expected


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fsettings.py", "%2e%2e/%2e%2e/settings.py", "vendor/..%2f..%2f..%2fsettings.py",
        "%2fetc%2fpasswd", "//etc/passwd", "..%5c..%5csettings.py", "page.js%00.css", "vendor", "vendor/", "",
        "a" * 300,
    ],
)  # fmt: skip
async def test_nothing_outside_the_folder_is_found(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.get(f"/assets/{path}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["cache-control"] == "no-store"


def test_every_file_of_the_page_is_kept_in_memory_at_once() -> None:
    assert len([path for path in WEB.rglob("*") if path.is_file()]) <= MOST_KEPT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "web").mkdir()
    return tmp_path / "web"


@pytest.fixture
async def own(folder: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a folder that the test fills."""
    transport = httpx2.ASGITransport(app=Starlette(routes=[Mount("/assets", Assets(directory=folder))]))
    async with httpx2.AsyncClient(transport=transport, base_url="http://own.test") as client:
        yield client


async def test_an_edited_file_is_sent_anew(own: httpx2.AsyncClient, folder: Path) -> None:
    (folder / "a.js").write_text("const a = 1;\n" * 50)
    before, _ = await raw(own, "/assets/a.js", "gzip")

    (folder / "a.js").write_text("const b = 2;\n" * 50)
    os.utime(folder / "a.js", (1, 1))
    after, body = await raw(own, "/assets/a.js", "gzip", **{"if-none-match": before.headers["etag"]})

    assert (after.status_code, gzip.decompress(body)) == (200, b"const b = 2;\n" * 50)


async def test_the_tag_depends_on_the_bytes_alone(own: httpx2.AsyncClient, folder: Path) -> None:
    tags = []
    for name, installed in (("a.css", 1_000), ("b.css", 2_000)):
        (folder / name).write_text("p { margin: 0 }\n" * 50)
        os.utime(folder / name, (installed, installed))
        tags.append((await own.get(f"/assets/{name}")).headers["etag"])

    assert tags[0] == tags[1]


@pytest.mark.parametrize(("name", "content"), [("a.png", b"\x89PNG" * 500), ("a.woff2", b"w" * 500), ("a.js", b"1")])
async def test_what_gzip_does_not_help_travels_as_it_is(
    own: httpx2.AsyncClient, folder: Path, name: str, content: bytes
) -> None:
    (folder / name).write_bytes(content)

    answer, body = await raw(own, f"/assets/{name}", "gzip, identity;q=0")

    assert "content-encoding" not in answer.headers
    assert body == content


async def test_a_link_out_of_the_folder_leads_nowhere(own: httpx2.AsyncClient, folder: Path) -> None:
    (folder.parent / "secret.txt").write_text("marked")
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")

    assert (await own.get("/assets/link.txt")).status_code == 404
