"""The migrations make the tables that the code uses."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from needletrail_gateway.shell import ledger as ledger_module
from needletrail_gateway.shell import schema
from needletrail_gateway.shell.ledger import Ledger

MIGRATIONS = Path(ledger_module.__file__).parent / "migrations"


def test_migrated_and_described_schema_are_the_same(tmp_path: Path) -> None:
    opened = Ledger.open(tmp_path / "ledger.sqlite")
    with opened.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, schema.metadata) == []
    opened.close()


def test_a_table_without_a_migration_would_be_noticed(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), schema.metadata)
    assert {found[1].name for found in differences if found[0] == "add_table"} == set(
        schema.metadata.tables
    )


def test_the_newest_migration_is_the_one_that_the_ledger_knows(tmp_path: Path) -> None:
    """The ledger skips Alembic when its version is this one."""
    opened = Ledger.open(tmp_path / "ledger.sqlite")
    with opened.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    opened.close()
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [found]
    assert f'newest = "{found}"' in Path(ledger_module.__file__).read_text()
