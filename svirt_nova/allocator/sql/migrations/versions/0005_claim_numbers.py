# SPDX-License-Identifier: Apache-2.0
"""The numbers of claims, by which late calls are known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'

_BIG = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')

_COLUMNS = (
    ('allocation', 'claim_number'),
    ('allocation', 'last_claim'),
    ('claim', 'claim_number'),
)


def upgrade() -> None:
    """Add the columns that are not there.

    MariaDB cannot undo the half of it that was broken off. Claims that are
    there have the number 0, as have those that older releases make.
    """
    for table, name in _COLUMNS:
        if name not in _present(table):
            op.add_column(
                table,
                sa.Column(
                    name, _BIG, nullable=False, server_default=sa.text('0')
                ),
            )


def _present(table: str) -> set[str]:
    if op.get_context().as_sql:
        return set()
    columns = sa.inspect(op.get_bind()).get_columns(table)
    return {each['name'] for each in columns}
