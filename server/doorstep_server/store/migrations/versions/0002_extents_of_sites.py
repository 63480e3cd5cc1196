"""Extents of sites

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

from doorstep_geofences import Bounds, Geofence
from doorstep_server.store import columns

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INDEX = "ix_site_versions_extent"

_site_versions = sa.table(
    "site_versions",
    sa.column("tenant_id", columns.Id()),
    sa.column("site_id", columns.Id()),
    sa.column("version", sa.Integer()),
    sa.column("shape", columns.Shape()),
    sa.column("radius_m", sa.Float()),
    sa.column("tolerance_m", sa.Float()),
    sa.column("extent", columns.Shape()),
)


def upgrade() -> None:
    op.add_column("site_versions", sa.Column("extent", columns.Shape(), nullable=True))
    _fill_in()
    with op.batch_alter_table("site_versions") as table:
        table.alter_column("extent", existing_type=columns.Shape(), nullable=False)
    if _on_postgresql():
        op.create_index(_INDEX, "site_versions", ["extent"], postgresql_using="gist")


def downgrade() -> None:
    if _on_postgresql():
        op.drop_index(_INDEX, "site_versions")
    with op.batch_alter_table("site_versions") as table:
        table.drop_column("extent")


def _fill_in() -> None:
    """Of the sites that are there, one after the other: they may be many, and large."""
    if _on_postgresql():
        # an owner who is no superuser is bound by row level security as well
        op.execute("ALTER TABLE site_versions NO FORCE ROW LEVEL SECURITY")
    columns_ = _site_versions.c
    connection = op.get_bind()
    keys = connection.execute(
        sa.select(columns_.tenant_id, columns_.site_id, columns_.version)
    ).all()
    for tenant_id, site_id, version in keys:
        mine = sa.and_(
            columns_.tenant_id == tenant_id,
            columns_.site_id == site_id,
            columns_.version == version,
        )
        row = connection.execute(
            sa.select(columns_.shape, columns_.radius_m, columns_.tolerance_m).where(mine)
        ).one()
        fence = (
            Geofence.polygonal(row.shape)
            if row.radius_m is None
            else Geofence.circle(row.shape.x, row.shape.y, row.radius_m)
        )
        extent = Bounds.of(fence, row.tolerance_m).on_the_map()
        connection.execute(sa.update(_site_versions).where(mine).values(extent=extent))
    if _on_postgresql():
        op.execute("ALTER TABLE site_versions FORCE ROW LEVEL SECURITY")


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
