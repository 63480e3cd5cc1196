"""Purposes that are judged by devices

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # every purpose that is there goes on as it was
    op.add_column(
        "purposes",
        sa.Column(
            "judged_by", sa.String(length=8), nullable=False, server_default=sa.text("'server'")
        ),
    )


def downgrade() -> None:
    op.drop_column("purposes", "judged_by")
