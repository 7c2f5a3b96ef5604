"""`evercgm new-provider`: the empty rooms of a new way in, made from a template; works in a source checkout only."""

import keyword
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

BAD_USE = 2
# The template is a provider of this name; it is one that works.
TEMPLATE_NAME = "acme"
NAME = re.compile(r"[a-z][a-z0-9_]{1,19}")
# A line of the register.
MEMBER = re.compile(r"(\s+)[A-Z0-9_]+,")
ROUTES = Path("src/evercgm/providers")
TESTS = Path("tests/providers")


def new_provider(
    name: Annotated[str, typer.Argument(help="The way in: lower case, as in dexcom_share.")],
    root: Annotated[Path, typer.Option(help="The source checkout.")] = Path(),
) -> None:
    """Make the rooms of a new way in: record, auth, client, mapping, simulator, tests. See docs/adding-a-provider.md.

    What it makes works from the start, against a simulated vendor that does not exist: replace it room by room.
    """
    _check(name, root)
    made = []
    for source, target in _rooms(name):
        path = root / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_renamed(source.read_text(encoding="utf-8"), name), encoding="utf-8")
        made.append(target)
    _register(root / ROUTES / "__init__.py", name)
    for target in [*made, ROUTES / "__init__.py (one line)"]:
        typer.echo(f"  {target}")
    typer.echo("Next: docs/adding-a-provider.md; to see it stand: make check, pytest tests/providers")


def _check(name: str, root: Path) -> None:
    register = root / ROUTES / "__init__.py"
    if not register.is_file() or not (root / TESTS).is_dir():
        raise _bad_use("run it at the top of a source checkout, or name one with --root")
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or name == TEMPLATE_NAME:
        raise _bad_use(f"{name!r}: right are 2 to 20 of a-z, 0-9 and _, a letter first, as in dexcom_share")
    taken = [path for path in (ROUTES / name, TESTS / name) if (root / path).exists()]
    if taken:
        raise _bad_use(f"{taken[0]} is there already; nothing was changed")


def _rooms(name: str) -> list[tuple[Traversable, Path]]:
    """Each file of the template with its place."""
    template = files("evercgm.cli").joinpath("provider_template")
    rooms = [
        *((file, ROUTES / name / _plain(file)) for file in _texts(template)),
        *((file, ROUTES / name / "simulator" / _plain(file)) for file in _texts(template.joinpath("simulator"))),
    ]
    tests = template.joinpath("tests")
    return [
        *rooms,
        (tests.joinpath("in_suite.py.txt"), TESTS / name / "in_suite.py"),
        (tests.joinpath("test_mapping.py.txt"), TESTS / name / f"test_{name}_mapping.py"),
        (tests.joinpath("readings.json.txt"), TESTS / name / "fixtures" / "readings.json"),
    ]


def _texts(folder: Traversable) -> list[Traversable]:
    return sorted((file for file in folder.iterdir() if file.name.endswith(".txt")), key=lambda file: file.name)


def _plain(file: Traversable) -> str:
    return file.name.removesuffix(".txt")


def _renamed(text: str, name: str) -> str:
    title = name.replace("_", " ").title()
    return text.replace(TEMPLATE_NAME, name).replace(TEMPLATE_NAME.title(), title)


def _register(path: Path, name: str) -> None:
    """One line in the register, and the import that it needs."""
    lines = path.read_text(encoding="utf-8").splitlines()
    members = [n for n, line in enumerate(lines) if MEMBER.fullmatch(line)]
    lines.insert(members[-1] + 1, MEMBER.sub(rf"\1{name.upper()},", lines[members[-1]]))
    imports = [n for n, line in enumerate(lines) if line.startswith("from evercgm.providers.")]
    first, beyond = imports[0], imports[-1] + 1
    new = f"from evercgm.providers.{name} import PROVIDER as {name.upper()}"
    lines[first:beyond] = sorted([*lines[first:beyond], new])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _bad_use(text: str) -> typer.Exit:
    typer.echo(f"evercgm new-provider: {text}", err=True)
    return typer.Exit(BAD_USE)
