"""Accounts' templates and their versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from relay.core.clock import now
from relay.core.errors import Conflict, NotFound, Refused
from relay.core.ids import new_id
from relay.store import tables as t

#: templates of one account, archived ones included, and versions of one template
MAX_TEMPLATES = 1_000
MAX_VERSIONS = 1_000
_T, _V = t.template.c, t.template_version.c


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What a template is to say. It has been found to be in order (`relay.templates`)."""

    subject: str
    html: str | None = None
    text: str | None = None
    note: str | None = None


def create(connection: sa.Connection, account_id: int, name: str, first: NewVersion) -> dict[str, Any]:
    """Raises `Conflict` when there is one of that name, `Refused` for one too many."""
    counted = sa.select(_T.id).where(_T.account_id == account_id).limit(MAX_TEMPLATES).subquery()
    if connection.execute(sa.select(sa.func.count()).select_from(counted)).scalar_one() >= MAX_TEMPLATES:
        raise Refused(f"An account has at most {MAX_TEMPLATES} templates.")
    moment = now()
    row: dict[str, Any] = {
        "id": new_id(),
        "account_id": account_id,
        "name": name,
        "active": 1,
        "latest": 1,
        "archived_at": None,
        "created_at": moment,
        "updated_at": moment,
    }
    try:
        with connection.begin_nested():
            connection.execute(t.template.insert(), row)
    except sa.exc.IntegrityError:
        raise Conflict(f"There is a template named {name} already.") from None
    _insert(connection, row["id"], 1, first, moment)
    return get(connection, account_id, str(row["id"]))


def add_version(
    connection: sa.Connection, account_id: int | None, which: str, version: NewVersion, *, activate: bool
) -> dict[str, Any]:
    """A further version; mail is made from it at once where it is activated. Raises `NotFound`, `Refused`."""
    template = _locked(connection, account_id, which)
    number = template["latest"] + 1
    if number > MAX_VERSIONS:
        raise Refused(f"A template has at most {MAX_VERSIONS} versions.")
    moment = now()
    _insert(connection, template["id"], number, version, moment)
    changed: dict[str, Any] = {"latest": number, "updated_at": moment}
    if activate:
        changed["active"] = number
    connection.execute(t.template.update().where(_T.id == template["id"]).values(**changed))
    return get(connection, account_id, str(template["id"]), number)


def activate(connection: sa.Connection, account_id: int | None, which: str, number: int) -> dict[str, Any]:
    """Have mail made from another version, an earlier one too. Raises `NotFound`."""
    template = _locked(connection, account_id, which)
    _version(connection, template["id"], number)
    changed = {"active": number, "updated_at": now()}
    connection.execute(t.template.update().where(_T.id == template["id"]).values(**changed))
    return get(connection, account_id, str(template["id"]))


def archive(
    connection: sa.Connection, account_id: int | None, which: str, *, archived: bool
) -> dict[str, Any]:
    """Take a template out of use, or back into it. What is being sent goes on. Raises `NotFound`."""
    template = _locked(connection, account_id, which)
    moment = now()
    changed = {"archived_at": moment if archived else None, "updated_at": moment}
    connection.execute(t.template.update().where(_T.id == template["id"]).values(**changed))
    return get(connection, account_id, str(template["id"]))


def get(
    connection: sa.Connection, account_id: int | None, which: str, number: int | None = None
) -> dict[str, Any]:
    """A template, by id or name, with one of its versions: the active one unless told. Raises `NotFound`.

    `account_id` None finds any account's, by its id.
    """
    template = connection.execute(_named(account_id, which)).mappings().first()
    if template is None:
        raise NotFound(f"There is no template {which[:64]}.")
    version = _version(connection, template["id"], template["active"] if number is None else number)
    return {**template, "version": version}


def usable(
    connection: sa.Connection, account_id: int, which: str, number: int | None = None
) -> dict[str, Any]:
    """`get` for making mail: raises `Refused` for an archived one."""
    template = get(connection, account_id, which, number)
    if template["archived_at"] is not None:
        raise Refused(f"The template {template['name']} is archived.")
    return template


def page(
    connection: sa.Connection, account_id: int | None, *, limit: int, before: int | None, archived: bool
) -> list[dict[str, Any]]:
    """Templates, newest first, without what they say."""
    statement = sa.select(t.template).order_by(_T.id.desc()).limit(limit)
    if account_id is not None:
        statement = statement.where(_T.account_id == account_id)
    if before is not None:
        statement = statement.where(_T.id < before)
    if not archived:
        statement = statement.where(_T.archived_at.is_(None))
    return [dict(row) for row in connection.execute(statement).mappings()]


def versions(
    connection: sa.Connection, account_id: int | None, which: str, *, limit: int, before: int | None
) -> list[dict[str, Any]]:
    """A template's versions, newest first. Raises `NotFound`."""
    template = get(connection, account_id, which)
    statement = sa.select(t.template_version).where(_V.template_id == template["id"])
    if before is not None:
        statement = statement.where(_V.id < before)
    return [dict(row) for row in connection.execute(statement.order_by(_V.id.desc()).limit(limit)).mappings()]


def _named(account_id: int | None, which: str) -> sa.Select[Any]:
    by_id = which.isdecimal() and which.isascii() and len(which) <= 18
    statement = sa.select(t.template).where(_T.id == int(which) if by_id else _T.name == which)
    if account_id is not None:
        return statement.where(_T.account_id == account_id)
    return statement if by_id else statement.where(sa.false())


def _locked(connection: sa.Connection, account_id: int | None, which: str) -> Mapping[Any, Any]:
    row = connection.execute(_named(account_id, which).with_for_update()).mappings().first()
    if row is None:
        raise NotFound(f"There is no template {which[:64]}.")
    return row


def _version(connection: sa.Connection, template_id: int, number: int) -> dict[str, Any]:
    where = sa.and_(_V.template_id == template_id, _V.number == number)
    row = connection.execute(sa.select(t.template_version).where(where)).mappings().first()
    if row is None:
        raise NotFound(f"The template has no version {number}.")
    return dict(row)


def _insert(
    connection: sa.Connection, template_id: int, number: int, version: NewVersion, moment: datetime
) -> None:
    row = {
        "id": new_id(),
        "template_id": template_id,
        "number": number,
        "subject": version.subject,
        "html": version.html,
        "text": version.text,
        "note": version.note,
        "created_at": moment,
    }
    connection.execute(t.template_version.insert(), row)
