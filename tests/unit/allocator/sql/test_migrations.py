# SPDX-License-Identifier: Apache-2.0

import sqlalchemy as sa
import testtools
from alembic import autogenerate
from alembic import migration
from alembic import script
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql

from svirt_nova.allocator.sql.migrations import upgrade
from svirt_nova.allocator.sql.tables import schema
from tests import quick_store


class MigrationTest(testtools.TestCase):
    """The migrations make what the code expects."""

    def test_the_code_expects_the_last_revision(self):
        scripts = script.ScriptDirectory.from_config(upgrade._alembic_config())
        self.assertEqual([schema.REVISION], scripts.get_heads())

    def test_migrations_make_the_tables_of_the_code(self):
        store = self.useFixture(quick_store.QuickStore())
        migrated = self._described(store.url)
        made = store.path.with_name('made')
        engine = sa.create_engine(f'sqlite:///{made}')
        schema.metadata.create_all(engine)
        engine.dispose()
        self.assertEqual(self._described(f'sqlite:///{made}'), migrated)

    def test_alembic_sees_no_difference(self):
        store = self.useFixture(quick_store.QuickStore())
        engine = sa.create_engine(store.url)
        self.addCleanup(engine.dispose)
        with engine.connect() as connection:
            context = migration.MigrationContext.configure(
                connection, opts={'version_table': schema.VERSION_TABLE}
            )
            self.assertEqual(
                [], autogenerate.compare_metadata(context, schema.metadata)
            )

    def test_the_tables_compile_for_other_databases(self):
        for dialect in (mysql.dialect(), postgresql.dialect()):
            for table in schema.metadata.sorted_tables:
                text = str(
                    sa.schema.CreateTable(table).compile(dialect=dialect)
                )
                self.assertIn(f'CREATE TABLE {table.name}', text)

    @staticmethod
    def _described(url):
        """What SQLite keeps of each table, without white space."""
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(
                'SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL '
                'ORDER BY name'
            ).all()
        engine.dispose()
        return {
            name: ' '.join(sorted(sql.replace(',', ' ').split()))
            for name, sql in rows
            if name != schema.VERSION_TABLE
        }
