"""Rows that nobody can link without the keyring

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

from doorstep_server.store import columns
from doorstep_server.store.migrate import CannotMigrate
from doorstep_server.store.migrations import people_before_0005, postgresql_0001, postgresql_0005

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MADE_BEFORE = (
    "This database was made by a version before 0.1.0, which kept external ids where they could be "
    "read. There is no way to bring it over: make a new home with `doorstep init`, import the "
    "sites (`doorstep sites export`, `import`), and let the apps enroll again."
)


def upgrade() -> None:
    _require_new()
    _drop("check_ins", "devices", "subjects", "deployment")
    _create_deployment()
    _create_people()
    _create_check_ins()
    _create_others()
    op.add_column(
        "tenants",
        sa.Column("max_level", sa.String(length=8), nullable=False, server_default="cell"),
    )
    if not _on_postgresql():
        _tell_sizes()
    else:
        postgresql_0005.secure()
        postgresql_0001.partition(postgresql_0005.WITHOUT_STATISTICS["check_ins"])
        postgresql_0005.let_rewrite()


def _tell_sizes() -> None:
    """Without statistics SQLite takes a tenant's check-ins for ten, and looks at all of them.

    These are made up, and never measured: what is measured may quote what is stored.
    """
    op.execute("ANALYZE sqlite_schema")
    for index, sizes in (
        ("check_ins", "1000000 500000 10000 1"),
        ("ix_check_ins_token", "1000000 500000 1 1"),
        ("ix_check_ins_time", "1000000 500000 100 1 1"),
    ):
        op.execute(f"INSERT INTO sqlite_stat1 VALUES ('check_ins', '{index}', '{sizes}')")  # noqa: S608


def downgrade() -> None:
    if not _on_postgresql():
        op.execute("DELETE FROM sqlite_stat1")
    if _on_postgresql():
        postgresql_0005.let_rewrite_no_more()
    op.drop_column("tenants", "max_level")
    _drop("held_check_ins", "legal_holds", "erasures", "exact_positions", "expired_counts")
    _drop("check_ins", "devices", "subjects", "deployment")
    people_before_0005.create()
    if _on_postgresql():
        postgresql_0005.secure_as_before()
        postgresql_0001.partition()


def _require_new() -> None:
    """Only a database that nothing was made in may be made anew."""
    if op.get_bind().execute(sa.text("SELECT count(*) FROM deployment")).scalar():
        raise CannotMigrate(_MADE_BEFORE)


def _drop(*tables: str) -> None:
    if "check_ins" in tables and _on_postgresql():
        postgresql_0001.unpartition()
    for table in tables:
        op.drop_table(table)


def _create_deployment() -> None:
    op.create_table(
        "deployment",
        sa.Column("only", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("keyring_id", columns.Id(length=16), nullable=False),
        sa.Column("database_id", columns.Id(length=16), nullable=False),
        sa.Column("keyring_generation", sa.BigInteger(), nullable=False),
        sa.Column("is_copy", sa.Boolean(), nullable=False),
        sa.CheckConstraint('"only" = 1', name=op.f("ck_deployment_one_row")),
        sa.PrimaryKeyConstraint("only", name=op.f("pk_deployment")),
    )


def _create_people() -> None:
    op.create_table(
        "subjects",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("subject_id", columns.Id(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", name=op.f("pk_subjects")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "devices",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("device_id", columns.Id(length=16), nullable=False),
        sa.Column("subject_id", columns.Id(length=16), nullable=False),
        sa.Column("installation_label", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "device_id", name=op.f("pk_devices")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_devices_installation", "devices", ["tenant_id", "installation_label"])
    op.create_index("ix_devices_subject", "devices", ["tenant_id", "subject_id"])


def _create_check_ins() -> None:
    op.create_table(
        "check_ins",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("id", columns.Id(length=16), nullable=False),
        sa.Column("token", sa.LargeBinary(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(length=44), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("policy_version", sa.Integer(), nullable=False),
        sa.Column("legal_basis", sa.String(length=40), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("site_id", columns.Id(length=16), nullable=True),
        sa.Column("site_version", sa.Integer(), nullable=True),
        sa.Column("cell", sa.BigInteger(), nullable=True),
        sa.Column("action", sa.String(length=3), nullable=True),
        sa.Column("time", columns.Instant(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("evidence", sa.String(length=8), nullable=False),
        sa.CheckConstraint(
            "(site_id IS NULL) <> (cell IS NULL)", name=op.f("ck_check_ins_site_or_cell")
        ),
        sa.CheckConstraint(
            "(site_id IS NULL) = (site_version IS NULL)",
            name=op.f("ck_check_ins_site_with_version"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "expires_on", "id", name=op.f("pk_check_ins")),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (expires_on)",
    )
    op.create_index(
        "ix_check_ins_token", "check_ins", ["tenant_id", "token", "expires_on"], unique=True
    )
    op.create_index("ix_check_ins_time", "check_ins", ["tenant_id", "time", "id", "site_id"])


def _create_others() -> None:
    op.create_table(
        "exact_positions",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("id", columns.Id(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "expires_on", "id", name=op.f("pk_exact_positions")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "erasures",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("erasure_id", columns.Id(length=16), nullable=False),
        sa.Column("subject_id", columns.Id(length=16), nullable=True),
        sa.Column("asked_on", sa.Date(), nullable=False),
        sa.Column("receipt", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "erasure_id", name=op.f("pk_erasures")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "expired_counts",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=10), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "expires_on", "purpose", "outcome", name=op.f("pk_expired_counts")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "legal_holds",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("hold_id", columns.Id(length=16), nullable=False),
        sa.Column("subject_id", columns.Id(length=16), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "hold_id", name=op.f("pk_legal_holds")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "held_check_ins",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("hold_id", columns.Id(length=16), nullable=False),
        sa.Column("held_id", columns.Id(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "hold_id", "held_id", name=op.f("pk_held_check_ins")),
        sqlite_with_rowid=False,
    )


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
