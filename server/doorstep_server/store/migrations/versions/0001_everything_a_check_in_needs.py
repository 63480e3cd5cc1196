"""Everything a check-in needs

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

from doorstep_server.store import columns
from doorstep_server.store.migrations import postgresql_0001 as postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("kid", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", columns.Instant(timezone=True), nullable=False),
        sa.Column("revoked_at", columns.Instant(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "kid", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "changes",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_changes")),
    )
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
    op.create_index("ix_check_ins_time", "check_ins", ["tenant_id", "time", "id"], unique=False)

    op.create_table(
        "deployment",
        sa.Column("only", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("keyring_id", columns.Id(length=16), nullable=False),
        sa.CheckConstraint('"only" = 1', name=op.f("ck_deployment_one_row")),
        sa.PrimaryKeyConstraint("only", name=op.f("pk_deployment")),
    )
    op.create_table(
        "device_tokens",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("kid", sa.String(length=32), nullable=False),
        sa.Column("device_id", columns.Id(length=16), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("fresh", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "kid", name=op.f("pk_device_tokens")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_device_tokens_device", "device_tokens", ["tenant_id", "device_id"], unique=False
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
    op.create_index(
        "ix_devices_installation", "devices", ["tenant_id", "installation_label"], unique=False
    )

    op.create_table(
        "enrollment_codes",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("code_label", sa.LargeBinary(length=32), nullable=False),
        sa.Column("subject_id", columns.Id(length=16), nullable=False),
        sa.Column("expires_at", columns.Instant(timezone=True), nullable=False),
        sa.Column("installation_label", sa.LargeBinary(length=32), nullable=True),
        sa.Column("device_id", columns.Id(length=16), nullable=True),
        sa.Column("used_at", columns.Instant(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "code_label", name=op.f("pk_enrollment_codes")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "purposes",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("legal_basis", sa.String(length=40), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("time_precision_s", sa.Integer(), nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=False),
        sa.Column("max_age_s", sa.Integer(), nullable=False),
        sa.Column("requires_consent", sa.Boolean(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_purposes")),
    )
    op.create_table(
        "receipts",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=2), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("record_expires_on", sa.Date(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_receipts")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_receipts_expires_on", "receipts", ["tenant_id", "expires_on"], unique=False)

    op.create_table(
        "sites",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("site_id", columns.Id(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "site_id", name=op.f("pk_sites")),
        sa.UniqueConstraint(
            "tenant_id", "external_id", name=op.f("uq_sites_tenant_id_external_id")
        ),
    )
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
        "tallies",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "day", "purpose", "reason", name=op.f("pk_tallies")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tenants",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("handle", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("is_demo", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("handle", name=op.f("uq_tenants_handle")),
    )
    op.create_table(
        "site_versions",
        sa.Column("tenant_id", columns.Id(length=16), nullable=False),
        sa.Column("site_id", columns.Id(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("shape", columns.Shape(), nullable=False),
        sa.Column("radius_m", sa.Float(), nullable=True),
        sa.Column("tolerance_m", sa.Float(), nullable=False),
        sa.Column("assurance", sa.String(length=16), nullable=False),
        sa.Column("max_accuracy_m", sa.Float(), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("purposes", sa.JSON(), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("valid_from", columns.Instant(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "site_id"],
            ["sites.tenant_id", "sites.site_id"],
            name=op.f("fk_site_versions_sites"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "site_id", "version", name=op.f("pk_site_versions")),
    )
    if op.get_context().dialect.name == "postgresql":
        postgresql.secure()
        postgresql.partition()


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        postgresql.unpartition()
    op.drop_table("site_versions")
    op.drop_table("tenants")
    op.drop_table("tallies")
    op.drop_table("subjects")
    op.drop_table("sites")

    op.drop_table("receipts")
    op.drop_table("purposes")
    op.drop_table("enrollment_codes")

    op.drop_table("devices")

    op.drop_table("device_tokens")
    op.drop_table("deployment")

    op.drop_table("check_ins")
    op.drop_table("changes")
    op.drop_table("api_keys")
