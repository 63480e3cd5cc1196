"""A day's check-ins, written anew in one transaction

Revision ID: 0006
Revises: 0005
"""

from alembic import op

from doorstep_server.store.migrations import postgresql_0006

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        postgresql_0006.let_mix()


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        postgresql_0006.let_mix_no_more()
