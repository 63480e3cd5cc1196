"""The tables. What each column is for, and how long it is kept, stands in `privacy.data_map`.

Keys of everything that belongs to a tenant begin with tenant_id. Rows about persons or devices
have no foreign keys, no sequence and no creation time: nothing in their order or their links
tells who acted when. Tables that check-ins write have no rowid on SQLite for the same reason.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from doorstep_server.store.columns import Id, Instant, Shape

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

deployment = Table(
    "deployment",
    metadata,
    Column(
        "only",
        Integer,
        CheckConstraint('"only" = 1', name="one_row"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("keyring_id", Id, nullable=False),
)

tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    # the tenant's part of keys, tokens and codes
    Column("handle", String(8), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("is_demo", Boolean, nullable=False),
    # none: how fast people travel is not asked
    Column("max_speed_kmh", Integer, server_default="1000"),
    Column("max_site_area_km2", Integer, nullable=False, server_default="10000000"),
)

changes = Table(
    "changes",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("version", Integer, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("kid", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("secret_hash", LargeBinary(32), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)

purposes = Table(
    "purposes",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("title", String(200), nullable=False),
    Column("legal_basis", String(40), nullable=False),
    Column("level", String(8), nullable=False),
    Column("time_precision_s", Integer, nullable=False),
    Column("retention_days", Integer, nullable=False),
    Column("max_age_s", Integer, nullable=False),
    Column("requires_consent", Boolean, nullable=False),
    Column("active", Boolean, nullable=False),
)

sites = Table(
    "sites",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("site_id", Id, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("external_id", String(200)),
    # the version of the tenant's configuration since which it is as it is
    Column("changed", Integer, nullable=False, server_default="0"),
    UniqueConstraint("tenant_id", "external_id"),
    Index("ix_sites_changed", "tenant_id", "changed"),
)

site_versions = Table(
    "site_versions",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("site_id", Id, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("name", String(200), nullable=False),
    # a polygon or multipolygon; of a circle its centre, with the radius beside it
    Column("shape", Shape, nullable=False),
    Column("radius_m", Float),
    # the box around what counts as inside, cut at the 180° meridian
    Column("extent", Shape, nullable=False),
    Column("tolerance_m", Float, nullable=False),
    Column("assurance", String(16), nullable=False),
    Column("max_accuracy_m", Float, nullable=False),
    Column("timezone", String(64), nullable=False),
    # none: always open
    Column("hours", JSON(none_as_null=True)),
    Column("purposes", JSON, nullable=False),
    Column("groups", JSON, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("valid_from", Instant, nullable=False),
    ForeignKeyConstraint(["tenant_id", "site_id"], ["sites.tenant_id", "sites.site_id"]),
)
Index("ix_site_versions_extent", site_versions.c.extent, postgresql_using="gist").ddl_if(
    dialect="postgresql"
)

subjects = Table(
    "subjects",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("subject_id", Id, primary_key=True),
    Column("external_id", String(200), nullable=False),
    Column("groups", JSON, nullable=False),
    UniqueConstraint("tenant_id", "external_id"),
    sqlite_with_rowid=False,
)

enrollment_codes = Table(
    "enrollment_codes",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("code_label", LargeBinary(32), primary_key=True),
    Column("subject_id", Id, nullable=False),
    Column("expires_at", Instant, nullable=False),
    # set on first use, so that the same installation may ask again for a lost answer
    Column("installation_label", LargeBinary(32)),
    Column("device_id", Id),
    Column("used_at", Instant),
    sqlite_with_rowid=False,
)

devices = Table(
    "devices",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("device_id", Id, primary_key=True),
    Column("subject_id", Id, nullable=False),
    Column("installation_label", LargeBinary(32), nullable=False),
    Column("platform", String(16), nullable=False),
    Column("os_major", String(16), nullable=False),
    Column("model", String(64), nullable=False),
    Column("permission", String(16), nullable=False),
    Column("permission_sequence", BigInteger, nullable=False),
    Column("permission_epoch", BigInteger, nullable=False),
    Column("revoked", Boolean, nullable=False),
    Index("ix_devices_installation", "tenant_id", "installation_label"),
    sqlite_with_rowid=False,
)

device_tokens = Table(
    "device_tokens",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("kid", String(32), primary_key=True),
    Column("device_id", Id, nullable=False),
    Column("secret_hash", LargeBinary(32), nullable=False),
    # a rotated token has not been used yet, and the ones before it still work
    Column("fresh", Boolean, nullable=False),
    Index("ix_device_tokens_device", "tenant_id", "device_id"),
    sqlite_with_rowid=False,
)

check_ins = Table(
    "check_ins",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("expires_on", Date, primary_key=True),
    Column("id", Id, primary_key=True),
    Column("subject_ref", LargeBinary(32), nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("policy_version", Integer, nullable=False),
    Column("legal_basis", String(40), nullable=False),
    Column("level", String(8), nullable=False),
    Column("site_id", Id, nullable=False),
    Column("site_version", Integer, nullable=False),
    Column("action", String(3)),
    Column("time", Instant, nullable=False),
    Column("outcome", String(10), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("evidence", String(8), nullable=False),
    Index("ix_check_ins_time", "tenant_id", "time", "id"),
    Index("ix_check_ins_subject", "tenant_id", "subject_ref", "time"),
    sqlite_with_rowid=False,
    # by week, with a default for what lies further ahead: see `retention`
    postgresql_partition_by="RANGE (expires_on)",
)

receipts = Table(
    "receipts",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("key", LargeBinary(16), primary_key=True),
    Column("digest", LargeBinary(2), nullable=False),
    Column("expires_on", Date, nullable=False),
    Column("record_expires_on", Date),
    Column("sealed", LargeBinary),
    Index("ix_receipts_expires_on", "tenant_id", "expires_on"),
    sqlite_with_rowid=False,
)

tallies = Table(
    "tallies",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("purpose", String(64), primary_key=True),
    Column("reason", String(32), primary_key=True),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
