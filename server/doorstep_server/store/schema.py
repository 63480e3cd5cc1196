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
    Column("database_id", Id, nullable=False),
    # that of the keyring, when this database last had to know of a change there
    Column("keyring_generation", BigInteger, nullable=False),
    # a backup: what has changed since is not in it
    Column("is_copy", Boolean, nullable=False),
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
    # the most that any purpose may store of a place
    Column("max_level", String(8), nullable=False, server_default="cell"),
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
    # who looks at positions: the server, or the device alone
    Column("judged_by", String(8), nullable=False, server_default="server"),
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
    # groups and restrictions, under the person's key; their external id is in the keyring
    Column("sealed", LargeBinary, nullable=False),
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
    # what it is and what its owner permits, under the person's key
    Column("sealed", LargeBinary, nullable=False),
    Column("revoked", Boolean, nullable=False),
    Index("ix_devices_installation", "tenant_id", "installation_label"),
    Index("ix_devices_subject", "tenant_id", "subject_id"),
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
    # whose row it is, for those who have the keyring: see `privacy.unlinkable`
    Column("token", LargeBinary(16), nullable=False),
    Column("sealed", LargeBinary(44), nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("policy_version", Integer, nullable=False),
    Column("legal_basis", String(40), nullable=False),
    Column("level", String(8), nullable=False),
    Column("site_id", Id),
    Column("site_version", Integer),
    # H3, resolution 7
    Column("cell", BigInteger),
    Column("action", String(3)),
    Column("time", Instant, nullable=False),
    Column("outcome", String(10), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("evidence", String(8), nullable=False),
    # lists go by time; with the site in it, one of a site looks into no other rows
    Index("ix_check_ins_time", "tenant_id", "time", "id", "site_id"),
    Index("ix_check_ins_token", "tenant_id", "token", "expires_on", unique=True),
    CheckConstraint("(site_id IS NULL) <> (cell IS NULL)", name="site_or_cell"),
    CheckConstraint("(site_id IS NULL) = (site_version IS NULL)", name="site_with_version"),
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

exact_positions = Table(
    "exact_positions",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("expires_on", Date, primary_key=True),
    # that of the check-in
    Column("id", Id, primary_key=True),
    # under the person's key of the day, which is destroyed at the latest when this expires
    Column("sealed", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

erasures = Table(
    "erasures",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    # random, and known to who asked: with it the receipt can be fetched
    Column("erasure_id", Id, primary_key=True),
    # whom it is about, until it is done
    Column("subject_id", Id),
    Column("asked_on", Date, nullable=False),
    # says what was done, signed, without saying to whom; none until it is done
    Column("receipt", LargeBinary),
    sqlite_with_rowid=False,
)

legal_holds = Table(
    "legal_holds",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("hold_id", Id, primary_key=True),
    Column("subject_id", Id, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("expires_on", Date, nullable=False),
    sqlite_with_rowid=False,
)

held_check_ins = Table(
    "held_check_ins",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("hold_id", Id, primary_key=True),
    # random: nothing of the check-in but its sealed row is kept
    Column("held_id", Id, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

expired_counts = Table(
    "expired_counts",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("expires_on", Date, primary_key=True),
    Column("purpose", String(64), primary_key=True),
    Column("outcome", String(10), primary_key=True),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
