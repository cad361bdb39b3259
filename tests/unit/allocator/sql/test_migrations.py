# SPDX-License-Identifier: Apache-2.0

import io

import sqlalchemy as sa
import testtools
from alembic import autogenerate
from alembic import migration
from alembic import operations
from alembic import script
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql

from svirt_nova.allocator.sql.engine import stores
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

    def test_migrations_make_the_same_on_the_servers(self):
        for dialect in (mysql.dialect(), postgresql.dialect()):
            expected = []
            for table in schema.metadata.sorted_tables:
                made = sa.schema.CreateTable(table, if_not_exists=True)
                expected.append(made)
                for index in table.indexes:
                    made = sa.schema.CreateIndex(index, if_not_exists=True)
                    expected.append(made)
            texts = [str(made.compile(dialect=dialect)) for made in expected]
            self.assertCountEqual(
                map(self._words, texts), self._migrated_statements(dialect)
            )

    def test_a_migration_that_was_broken_off_goes_on(self):
        """MariaDB commits each statement; so every half must be completed."""
        store = self.useFixture(quick_store.QuickStore())
        whole = self._described(store.url)
        for number in range(len(schema.metadata.sorted_tables) + 1):
            made = store.path.with_name(f'made{number}')
            url = f'sqlite:///{made}'
            engine = sa.create_engine(url)
            with engine.begin() as connection:
                connection.exec_driver_sql(
                    f'CREATE TABLE {schema.VERSION_TABLE} '
                    f'(version_num VARCHAR(32) NOT NULL)'
                )
                schema.metadata.create_all(
                    connection, schema.metadata.sorted_tables[:number]
                )
            engine.dispose()
            stores.sync(quick_store.make_conf(url))
            self.assertEqual(whole, self._described(url))

    @staticmethod
    def _words(statement):
        """A statement without white space, whatever the order of its lines."""
        return ' '.join(sorted(statement.replace(',', ' ').split()))

    def _migrated_statements(self, dialect):
        """What all migrations together have a server do."""
        scripts = script.ScriptDirectory.from_config(upgrade._alembic_config())
        output = io.StringIO()
        context = migration.MigrationContext.configure(
            dialect_name=dialect.name,
            opts={'as_sql': True, 'output_buffer': output},
        )
        with operations.Operations.context(context):
            for revision in reversed(list(scripts.walk_revisions())):
                revision.module.upgrade()
        made = []
        for statement in filter(
            None, map(str.strip, output.getvalue().split(';'))
        ):
            table, is_added, column = statement.partition(' ADD COLUMN ')
            if not is_added:
                made.append(statement)
                continue
            # As if the column had been made with its table.
            create = table.replace('ALTER TABLE', 'CREATE TABLE IF NOT EXISTS')
            [at] = [
                n for n, m in enumerate(made) if m.startswith(f'{create} ')
            ]
            made[at] += f' {column}'
        return [*map(self._words, made)]

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
