"""The packaged migrations lead to exactly the tables the code works with, on both databases, however often run."""

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from relay.core.errors import Misconfigured, Unavailable
from relay.store import migrate, tables, types
from relay.store.database import Database, open_database
from tests.services import Postgres

#: foreign keys
SQLITE_ONLY = {f"fk_{name}" for name in ("message_account_id", "body_message_id", "params_message_id")}
SQLITE_ONLY |= {"fk_recipient_message_id"}


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/new.db"
        return
    with request.getfixturevalue("postgres_server").database("template0") as url:
        yield url


def inspect(url: str, work):
    async def once():
        database: Database = open_database(url)
        try:
            return await database.read(work)
        finally:
            await database.close()

    return asyncio.run(once())


def definitions(connection: sa.Connection) -> list[tuple[str, ...]]:
    """Everything the database itself says about its tables, our bookkeeping apart."""
    if connection.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE '%alembic%' ORDER BY name"
        return [(row[0], normal(row[1] or "")) for row in connection.execute(sa.text(query))]
    columns = (
        "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default "
        "FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version' "
    )
    indexes = (
        "SELECT indexname, indexdef FROM pg_indexes "
        "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    )
    constraints = (
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace AND conname NOT LIKE 'alembic%'"
    )
    found = []
    for query in (columns, indexes, constraints):
        found += sorted(tuple(map(str, row)) for row in connection.execute(sa.text(query)))
    return found


def normal(ddl: str) -> str:
    """DDL with its clauses in one order: a constraint's place among the columns means nothing, nor do the quotes
    that SQLite puts around the name of a table that was rebuilt.
    """
    head, _, clauses = " ".join(ddl.replace('"', "").split()).partition("(")
    return head + "(" + "|".join(sorted(part.strip(" )") for part in clauses.split(", ")))


def test_the_migrations_make_the_tables_of_the_code(empty_url):
    migrate.upgrade(empty_url)

    def differences(connection):
        here = connection.dialect.name

        def made_here(thing, name, kind, *_):
            # Alembic does not ask for which databases a constraint is meant.
            return not (here == "postgresql" and kind == "foreign_key_constraint" and name in SQLITE_ONLY)

        options = {"include_object": made_here}
        return compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata)

    assert inspect(empty_url, differences) == []


def test_the_migrations_make_what_create_all_makes(empty_url, tmp_path, request):
    migrate.upgrade(empty_url)
    if empty_url.startswith("sqlite"):
        made = f"sqlite:///{tmp_path}/made.db"
        asyncio.run(create_all(made))
        expected = inspect(made, definitions)
    else:
        with request.getfixturevalue("postgres_server").database("template0") as made:
            asyncio.run(create_all(made))
            expected = inspect(made, definitions)
    assert inspect(empty_url, definitions) == expected


async def create_all(url):
    database = open_database(url)
    await database.write(tables.metadata.create_all)
    await database.close()


def test_a_migrated_database_is_current_and_upgrading_again_changes_nothing(database_url):
    before = inspect(database_url, definitions)
    assert migrate.is_current(database_url)
    migrate.upgrade(database_url)
    assert migrate.current(database_url) == migrate.head()
    assert inspect(database_url, definitions) == before


def test_an_empty_database_is_at_no_revision(empty_url):
    assert migrate.current(empty_url) is None
    assert not migrate.is_current(empty_url)


def test_looking_at_a_missing_sqlite_file_does_not_make_it(tmp_path):
    assert not migrate.is_current(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


def test_downgrading_leaves_an_empty_database(empty_url):
    from alembic import command

    migrate.upgrade(empty_url)

    async def down():
        database = open_database(empty_url)
        await database.write(lambda connection: command.downgrade(migrate.alembic_config(connection), "base"))
        await database.close()

    asyncio.run(down())
    assert inspect(empty_url, definitions) == []
    migrate.upgrade(empty_url)
    assert migrate.is_current(empty_url)


UPGRADE = """
import sys
from relay.store import migrate
import alembic.command
print("go", flush=True)
sys.stdin.readline()
migrate.upgrade(sys.argv[1])
"""


def test_processes_starting_together_migrate_once(empty_url):
    children = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADE, empty_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdout.readline() == "go\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    answers = [child.communicate(timeout=150) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], answers
    assert migrate.is_current(empty_url)


def test_a_current_database_is_recognised_without_alembic(database_url):
    code = (
        "import sys; from relay.store import migrate; migrate.upgrade(sys.argv[1]); "
        "print([name for name in sys.modules if name.startswith('alembic')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, database_url], capture_output=True, text=True, check=True, timeout=150
    )
    assert done.stdout == "[]\n"


def test_a_database_of_a_newer_version_is_refused(database_url):
    async def pretend():
        database = open_database(database_url)
        await database.write(
            lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        )
        await database.close()

    asyncio.run(pretend())
    assert not migrate.is_current(database_url)
    with pytest.raises(Misconfigured, match="9999"):
        migrate.upgrade(database_url)


def test_the_files_are_named_by_revision_in_one_line():
    with sa.create_engine("sqlite://").connect() as connection:
        scripts = ScriptDirectory.from_config(migrate.alembic_config(connection))
    assert scripts.get_heads() == [migrate.head()]
    for script in scripts.walk_revisions():
        assert Path(script.path).name.partition("_")[0] == script.revision


def test_draft_finds_nothing_to_do_and_writes_what_was_added(monkeypatch, tmp_path):
    copy = tmp_path / "migrations"
    (copy / "versions").mkdir(parents=True)
    for file in migrate._DIRECTORY.rglob("*.*"):
        if "__pycache__" not in file.parts:
            (copy / file.relative_to(migrate._DIRECTORY)).write_bytes(file.read_bytes())
    monkeypatch.setattr(migrate, "_DIRECTORY", copy)
    nothing = migrate.draft("nothing new")
    assert "op." not in nothing.read_text()
    nothing.unlink()

    added = sa.Table(
        "pigeon",
        tables.metadata,
        sa.Column("id", types.BigInt, primary_key=True),
        sa.Column("at", types.Instant),
    )
    try:
        path = migrate.draft("a pigeon")
        assert path.name == f"{int(migrate.head()):04}_a_pigeon.py"
        migrate.upgrade(f"sqlite:///{tmp_path}/new.db")
    finally:
        tables.metadata.remove(added)
    assert ("pigeon",) in [row[:1] for row in inspect(f"sqlite:///{tmp_path}/new.db", definitions)]


def test_the_database_file_and_its_directories_are_private(tmp_path):
    migrate.upgrade(f"sqlite:///{tmp_path}/a/b/mail.db")
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/mail.db")
    }
    assert modes == {"a": 0o700, "b": 0o700, "mail.db": 0o600}


def test_a_directory_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="cannot be made"):
        migrate.upgrade(f"sqlite:///{tmp_path}/file/mail.db")


def test_a_server_that_is_not_there_is_unavailable(tmp_path):
    with pytest.raises(Unavailable):
        migrate.upgrade(f"postgresql://nobody@/none?host={tmp_path}")


def test_the_server_is_shared_and_databases_are_not(postgres_server: Postgres):
    with postgres_server.database() as one, postgres_server.database() as two:
        assert one != two
        asyncio.run(write_account(one))
        assert inspect(two, lambda c: c.execute(sa.select(tables.account)).all()) == []
        assert len(inspect(one, lambda c: c.execute(sa.select(tables.account)).all())) == 1


async def write_account(url):
    from relay.store import accounts

    database = open_database(url)
    await database.write(accounts.create_account, "one")
    await database.close()
