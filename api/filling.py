"""Single sends from a stored template: `template` and `variables` in place of what the mail says."""

import html
from collections.abc import Mapping
from typing import Any

import orjson

from relay.core.errors import NotFound, Refused
from relay.core.identity import Identity
from relay.store import templates
from relay.store.database import Database
from relay.templates import Rendered, Source, fill
from relay.templates.render import check_variables

_NAMED = ("template", "variables")


class Filler:
    """Puts what a template says into the fields of a send that names one; others it gives back as they are."""

    def __init__(self, database: Database, body: str) -> None:
        """`body` is what the door calls the HTML."""
        self._database = database
        self._body = body

    async def fill(self, identity: Identity, given: dict[str, Any]) -> dict[str, Any]:
        """Raises a `Refused` for what names no template of the account's, or does not suit it."""
        if "template" not in given:
            return given
        rendered = await self._render(identity, given)
        for name in ("subject", self._body, "text"):
            if name in given:
                raise Refused(f'"{name}" is not allowed beside "template"')
        filled = {name: value for name, value in given.items() if name not in _NAMED}
        filled["subject"] = rendered.subject
        if rendered.text is not None:
            filled["text"] = rendered.text
        if rendered.html is not None:
            filled[self._body] = rendered.html
        elif self._body == "body":
            # The contract has no mail without HTML.
            filled["body"] = html.escape(rendered.text or "").replace("\n", "<br />\n")
        return filled

    async def _render(self, identity: Identity, given: Mapping[str, Any]) -> Rendered:
        name, variables = given["template"], given.get("variables", {})
        if not isinstance(name, str) or not 0 < len(name) <= 64 or "\0" in name:
            raise Refused('"template" must be the id or the name of a template')
        if isinstance(variables, str):
            try:
                variables = orjson.loads(variables)
            except orjson.JSONDecodeError:
                variables = None
        if not isinstance(variables, dict):
            raise Refused('"variables" must be of type object')
        check_variables(variables)
        try:
            found = (await self._database.read(templates.usable, identity.account_id, name))["version"]
        except NotFound as error:
            raise Refused(error.message) from None
        return await fill(Source(found["subject"], found["html"], found["text"]), variables)
