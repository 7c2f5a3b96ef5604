"""What functions of the host app say while our commands run is theirs: no row of it is repeated, no line is ours."""

from typing import Any

import psycopg
import pytest
from by_hand import held, run
from starts import lay
from test_bad_input import evercgm

from evercgm.storage.schema.told import as_line, as_word

# Behind an index it is called again for each row, when the conversion writes the table anew. Only our runner sets this.
BEHIND_AN_INDEX = """
create function nz(token text) returns text language {language} immutable as $$ {body} $$;
create index on cgm_connections (nz(access_token));
"""
WHILE_WE_RUN = "begin if current_setting('cgm.unknown', true) <> '' then {act}; end if; return token; end"
ACTS = {
    "it notes": "raise notice 'tok %', token",
    "it warns": "raise warning 'tok %', token",
}
STOPS = {
    "it raises": ("raise exception 'tok %', token using hint = 'see ' || token", "P0001"),
    "it raises in our manner": (
        "raise exception 'tok %', token using errcode = 'object_not_in_prerequisite_state', hint = token",
        "55000",
    ),
    "a value is none": ("perform token::integer", "22P02"),
    "it stumbles over SQL made of it": ("execute 'select ' || token", "42703"),
}
NOISY = """
create function noisy() returns event_trigger language plpgsql as $$
begin
  raise notice 'heard %', tg_tag;
  execute $x$ do $b$ begin raise warning 'heard by a block'; end $b$ $x$;
  raise warning E'20261124000001 cgm_match_production:\\napplied';
end $$;
create event trigger noise on ddl_command_end execute function noisy();
"""


@pytest.mark.parametrize("case", list(ACTS))
async def test_what_the_host_says_of_a_row_is_not_repeated(make_empty_database: Any, case: str) -> None:
    fresh = make_empty_database()
    await lay(fresh, "staging")
    run(fresh.admin_dsn, BEHIND_AN_INDEX.format(language="plpgsql", body=WHILE_WE_RUN.format(act=ACTS[case])))

    done = evercgm(fresh.admin_dsn, "migrate", "--unknown", "quarantine")

    assert done.returncode == 0
    assert "tok" not in done.stdout + done.stderr
    assert "  6 connections kept, 3 put aside" in done.stdout


@pytest.mark.parametrize("case", list(STOPS))
async def test_where_the_host_refuses_the_place_and_the_code_are_told(make_empty_database: Any, case: str) -> None:
    act, code = STOPS[case]
    fresh = make_empty_database()
    await lay(fresh, "staging")
    run(fresh.admin_dsn, BEHIND_AN_INDEX.format(language="plpgsql", body=WHILE_WE_RUN.format(act=act)))
    before = held(fresh.admin_dsn)

    done = evercgm(fresh.admin_dsn, "migrate", "--unknown", "quarantine")

    assert (done.returncode, done.stdout) == (1, "")
    assert f"function nz refused (SQLSTATE {code}" in done.stderr
    assert "tok" not in done.stderr
    assert "plain" not in done.stderr
    assert held(fresh.admin_dsn) == before


async def test_a_host_that_hears_everything_fills_no_screen(make_empty_database: Any) -> None:
    fresh = make_empty_database()
    await lay(fresh, "staging")
    run(fresh.admin_dsn, NOISY)

    done = evercgm(fresh.admin_dsn, "migrate", "--unknown", "quarantine")

    assert done.returncode == 0
    assert "heard" not in done.stdout
    assert [line for line in done.stdout.splitlines() if not line.startswith(" ")] == [
        *(line for line in done.stdout.splitlines() if line.startswith("20261124") and line.endswith(": applied")),
        "4 migrations recorded. 3 connections were put aside: evercgm db quarantine list",
    ]
    assert len(done.stdout.splitlines()) == 6


async def test_a_name_that_would_make_a_line_of_its_own_is_escaped(make_empty_database: Any) -> None:
    fresh = make_empty_database()
    await lay(fresh, "staging")
    forged = "v\n20261124000001 cgm_match_production: applied\x1b[2J"
    with psycopg.connect(fresh.admin_dsn) as connection:
        connection.execute(f'create view "{forged}" as select provider from cgm_connections'.encode())

    done = evercgm(fresh.admin_dsn, "migrate", "--unknown", "quarantine")

    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr
    assert r"v\n20261124000001" in done.stderr


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("conn-b2", "conn-b2", "conn-b2"),
        ("person two", "person two", "'person two'"),
        ("a\nb", r"a\nb", r"'a\nb'"),
        ("a\x9bb", r"a\x9bb", r"'a\x9bb'"),
        ("a\u2028b", r"a\u2028b", r"'a\u2028b'"),
        ("ä", "ä", "ä"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, line: str, word: str) -> None:
    assert (as_line(text), as_word(text)) == (line, word)
