"""The migrations make the tables that the code uses."""

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
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


def test_a_ledger_of_the_first_schema_is_brought_up_to_date_and_keeps_what_it_holds(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.sqlite"
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql("INSERT INTO lane VALUES ('pen-01', 1, 7, 1000, NULL, 'pen-01-1-1')")
        connection.exec_driver_sql("INSERT INTO pen_key VALUES ('pen-01', 1, x'00')")
    engine.dispose()
    opened = Ledger.open(path)
    [lane] = opened.lanes()
    assert (lane["pen"], lane["next_seq"], lane["boot_utc_ms"]) == ("pen-01", 7, 1000)
    assert (lane["boot"], lane["faults"], lane["hello_boot"]) == (None, None, None)
    assert opened.pen_keys() == {("pen-01", 1): b"\0"}, "no key is retired by it"
    assert opened.pins("pen-01", 1, 0) == []
    opened.close()
