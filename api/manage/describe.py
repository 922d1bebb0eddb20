"""Models as OpenAPI wants them: without definitions elsewhere, and as query parameters."""

import functools
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def inlined(model: type[BaseModel], known: Mapping[str, dict[str, Any]] | None = None) -> dict[str, Any]:
    """The JSON schema of a model with every reference replaced by what it refers to, or by what is `known` of it."""
    schema = _schema(model)
    definitions = {**schema.get("$defs", {}), **(known or {})}

    def replaced(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                target = replaced(definitions[node["$ref"].rpartition("/")[2]])
                return {**target, **{key: value for key, value in node.items() if key != "$ref"}}
            return {key: replaced(value) for key, value in node.items()}
        if isinstance(node, list):
            return [replaced(item) for item in node]
        return node

    found: dict[str, Any] = replaced({key: value for key, value in schema.items() if key != "$defs"})
    return found


@functools.cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """As pydantic has it, and to be left so: many calls ask for the same models."""
    return model.model_json_schema(by_alias=True)


def query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of a model as parameters of a query, none of which has to be there."""
    described = []
    for name, schema in inlined(model)["properties"].items():
        # What may be left out is null to us, but nothing a query could say.
        choices = [one for one in schema.pop("anyOf", ()) if one != {"type": "null"}]
        shown = {
            key: value for key, value in schema.items() if key not in {"title", "description", "default"}
        }
        described.append(
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": schema.get("description", ""),
                "schema": {**(choices[0] if choices else {}), **shown},
            }
        )
    return described
