"""Finds every operation, and in each what names a thing: so that a new route is attacked without being mentioned."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from evercgm.api.fields import ID_PATTERN

Document = Mapping[str, Any]
FORM = "multipart/form-data"
Place = Literal["path", "query", "body"]


@dataclass(frozen=True)
class Field:
    """A parameter or a field of a body. ``means``: what it names, such as ``person_id``; None where it is no id."""

    place: Place
    name: str
    required: bool
    schema: Mapping[str, Any]
    means: str | None


@dataclass(frozen=True)
class Operation:
    """One method of one path; ``is_form``: its body is a form with a file, else JSON."""

    method: str
    path: str
    fields: tuple[Field, ...]
    is_form: bool = False

    @property
    def label(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def ids(self) -> list[Field]:
        return [field for field in self.fields if field.means is not None]


def operations(document: Document) -> list[Operation]:
    """All of the document."""
    return [
        Operation(method.upper(), path, tuple(_fields(document, path, details)), _is_form(details))
        for path, methods in document["paths"].items()
        for method, details in methods.items()
    ]


def _is_form(details: Mapping[str, Any]) -> bool:
    return FORM in details.get("requestBody", {}).get("content", {})


def resolved(document: Document, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema behind a reference."""
    while "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        schema = document["components"]["schemas"][name]
    return schema


def body_schemas(document: Document, details: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Media type and schema of each form of an operation's body; of alternatives each."""
    for media_type, content in details.get("requestBody", {}).get("content", {}).items():
        for schema in _alternatives(document, content.get("schema", {})):
            if schema.get("type") != "null":
                yield media_type, schema


def _alternatives(document: Document, schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    schema = resolved(document, schema)
    choices = [*schema.get("anyOf", []), *schema.get("oneOf", [])]
    if not choices:
        yield schema
    for choice in choices:
        yield from _alternatives(document, choice)


def _fields(document: Document, path: str, details: Mapping[str, Any]) -> Iterator[Field]:
    for parameter in details.get("parameters", []):
        assert parameter["in"] in ("path", "query"), f"{path}: the walk does not know parameters in {parameter['in']}"
        name, schema = parameter["name"], parameter["schema"]
        in_path = parameter["in"] == "path"
        means = _means(document, path, name, schema, in_path=in_path)
        yield Field("path" if in_path else "query", name, parameter.get("required", False), schema, means)
    for media_type, schema in body_schemas(document, details):
        for name, part in schema.get("properties", {}).items():
            means = _means(document, path, name, part, in_path=False)
            known = media_type in ("application/json", FORM)
            assert means is None or known, f"{path}: the walk sends ids in JSON and in forms only"
            yield Field("body", name, name in schema.get("required", []), part, means)


def _means(document: Document, path: str, name: str, schema: Mapping[str, Any], *, in_path: bool) -> str | None:
    """By its form (all ids of ours have one pattern), by its name, or by standing in a path."""
    has_form = any(one.get("pattern") == ID_PATTERN for one in _alternatives(document, schema))
    if not (has_form or in_path or name == "id" or name.endswith("_id")):
        return None
    if name != "id":
        return name
    before = path.partition("{id}")[0].rstrip("/").rpartition("/")[2]
    return f"{before.removesuffix('s')}_id"


def example(document: Document, field: Field) -> Any:
    """A value that fits, for fields that a call cannot be without."""
    schema = next(iter(_alternatives(document, field.schema)))
    if "enum" in schema or "const" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    if schema.get("format") == "binary":
        return b"a,file"
    if schema.get("format") == "date-time":
        return "2026-11-24T08:00:00Z"
    kinds: dict[str, Any] = {
        "integer": schema.get("minimum", 1),
        "number": 1.0,
        "boolean": True,
        "array": [],
        "object": {},
    }
    return kinds.get(str(schema.get("type")), "UTC" if "zone" in field.name else "x")


def call_of(document: Document, operation: Operation, values: Mapping[str, Any]) -> dict[str, Any]:
    """What to hand to ``client.request``: the given values, and examples of what is required besides."""
    path, query, body = operation.path, {}, {}
    for field in operation.fields:
        if field.name not in values and not field.required:
            continue
        value = values.get(field.name, example(document, field))
        if field.place == "path":
            path = path.replace(f"{{{field.name}}}", str(value))
        elif field.place == "query":
            query[field.name] = value
        else:
            body[field.name] = value
    sent: dict[str, Any] = {"method": operation.method, "url": path, "params": query}
    if operation.is_form:
        sent["files"] = form_of(body)
    elif any(field.place == "body" for field in operation.fields):
        sent |= {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}
    return sent


def form_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a form: bytes are a file."""
    return {name: ("a.csv", value) if isinstance(value, bytes) else (None, str(value)) for name, value in body.items()}
