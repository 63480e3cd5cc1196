"""Tables about persons as they were before revision 0005, for who goes back: empty."""

import sqlalchemy as sa
from alembic import op

from doorstep_server.store import columns


def create() -> None:
    """Make them."""
    op.create_table(
        "subjects",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("subject_id", columns.Id(length=16), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", name=op.f("pk_subjects")),
        sa.UniqueConstraint(
            "tenant_id", "external_id", name=op.f("uq_subjects_tenant_id_external_id")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "devices",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("device_id", columns.Id(length=16), nullable=False),
        sa.Column("subject_id", columns.Id(length=16), nullable=False),
        sa.Column("installation_label", sa.LargeBinary(length=32), nullable=False),
        sa.Column("platform", sa.String(length=16), nullable=False),
        sa.Column("os_major", sa.String(length=16), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("permission", sa.String(length=16), nullable=False),
        sa.Column("permission_sequence", sa.BigInteger(), nullable=False),
        sa.Column("permission_epoch", sa.BigInteger(), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "device_id", name=op.f("pk_devices")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_devices_installation", "devices", ["tenant_id", "installation_label"])
    op.create_table(
        "check_ins",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("id", columns.Id(length=16), nullable=False),
        sa.Column("subject_ref", sa.LargeBinary(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("policy_version", sa.Integer(), nullable=False),
        sa.Column("legal_basis", sa.String(length=40), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("site_id", columns.Id(length=16), nullable=False),
        sa.Column("site_version", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(length=3), nullable=True),
        sa.Column("time", columns.Instant(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("evidence", sa.String(length=8), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "expires_on", "id", name=op.f("pk_check_ins")),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (expires_on)",
    )
    op.create_index("ix_check_ins_time", "check_ins", ["tenant_id", "time", "id"])
    op.create_index("ix_check_ins_subject", "check_ins", ["tenant_id", "subject_ref", "time"])
    op.create_table(
        "deployment",
        sa.Column("only", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("keyring_id", columns.Id(length=16), nullable=False),
        sa.CheckConstraint('"only" = 1', name=op.f("ck_deployment_one_row")),
        sa.PrimaryKeyConstraint("only", name=op.f("pk_deployment")),
    )
