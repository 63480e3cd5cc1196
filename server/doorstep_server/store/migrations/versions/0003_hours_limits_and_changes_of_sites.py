"""Hours, limits, and which sites a change concerns

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_OF_TENANTS = "GRANT UPDATE (max_speed_kmh, max_site_area_km2) ON tenants TO doorstep_app"


def upgrade() -> None:
    op.add_column("site_versions", sa.Column("hours", sa.JSON(none_as_null=True), nullable=True))
    op.add_column(
        "sites", sa.Column("changed", sa.Integer(), nullable=False, server_default=sa.text("0"))
    )
    op.create_index("ix_sites_changed", "sites", ["tenant_id", "changed"])
    # defaults for the tenants that are there; the server names both for each new one
    op.add_column(
        "tenants",
        sa.Column("max_speed_kmh", sa.Integer(), nullable=True, server_default=sa.text("1000")),
    )
    op.add_column(
        "tenants",
        sa.Column(
            "max_site_area_km2", sa.Integer(), nullable=False, server_default=sa.text("10000000")
        ),
    )
    op.create_index("ix_check_ins_subject", "check_ins", ["tenant_id", "subject_ref", "time"])
    if _on_postgresql():
        op.execute(_OF_TENANTS)


def downgrade() -> None:
    op.drop_index("ix_check_ins_subject", "check_ins")
    for table, column in (
        ("tenants", "max_site_area_km2"),
        ("tenants", "max_speed_kmh"),
        ("sites", "changed"),
        ("site_versions", "hours"),
    ):
        if column == "changed":
            op.drop_index("ix_sites_changed", "sites")
        op.drop_column(table, column)


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
