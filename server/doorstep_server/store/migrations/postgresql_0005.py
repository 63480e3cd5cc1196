"""What revision 0005 makes on PostgreSQL besides tables: rights, and writing tables anew."""

from alembic import op

from doorstep_server.store.migrations import postgresql_0001

#: what the server's transactions may do; check-ins are never changed, and removed when erased
RIGHTS = {
    "deployment": "SELECT, UPDATE (keyring_generation, is_copy)",
    "subjects": "SELECT, INSERT, UPDATE, DELETE",
    "devices": "SELECT, INSERT, UPDATE, DELETE",
    "check_ins": "SELECT, INSERT, DELETE",
    "exact_positions": "SELECT, INSERT, DELETE",
    "erasures": "SELECT, INSERT, UPDATE, DELETE",
    "expired_counts": "SELECT, INSERT",
    "legal_holds": "SELECT, INSERT, DELETE",
    "held_check_ins": "SELECT, INSERT, DELETE",
}
#: what is said of values in these columns would be kept in the catalogue, too
WITHOUT_STATISTICS = {
    "subjects": ("subject_id", "sealed"),
    "devices": ("device_id", "subject_id", "installation_label", "sealed"),
    "device_tokens": ("kid", "device_id", "secret_hash"),
    "enrollment_codes": ("code_label", "subject_id", "installation_label", "device_id"),
    "check_ins": ("id", "token", "sealed"),
    "receipts": ("key", "digest", "sealed"),
    "exact_positions": ("id", "sealed"),
    "erasures": ("erasure_id", "subject_id", "receipt"),
    "legal_holds": ("hold_id", "subject_id"),
    "held_check_ins": ("hold_id", "held_id", "sealed"),
}
#: tables that hold rows about persons, beside the partitions of check-ins
_REWRITTEN = (
    "subjects",
    "devices",
    "device_tokens",
    "enrollment_codes",
    "receipts",
    "exact_positions",
    "erasures",
    "legal_holds",
    "held_check_ins",
)


def secure() -> None:
    """Rights, row level security, and no statistics about persons."""
    postgresql_0001.secure(RIGHTS)
    op.execute("GRANT UPDATE (max_level) ON tenants TO doorstep_app")
    for table, columns in WITHOUT_STATISTICS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")


def secure_as_before() -> None:
    """Rights and row level security of the tables that this revision changed."""
    before = postgresql_0001.RIGHTS
    postgresql_0001.secure(
        {table: before[table] for table in ("deployment", "subjects", "devices", "check_ins")}
    )


def let_rewrite() -> None:
    """What writes tables anew: a deleted row's bytes stay in its page until then.

    Only the owner may, so these functions have the owner's rights, and each does one thing only.
    """
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar()
    for function, arguments, returns, body in (
        ("doorstep_rewrite", "named text", "void", _REWRITE.replace("-- names", _NAMES)),
        (
            "doorstep_rewritable",
            "days date[]",
            "SETOF text",
            _REWRITABLE.replace("-- names", _NAMES),
        ),
        ("doorstep_oldest_wal", "", "date", _OLDEST_WAL),
    ):
        op.execute(
            f"CREATE FUNCTION {function}({arguments}) RETURNS {returns} LANGUAGE plpgsql "
            f"SECURITY DEFINER SET search_path = {schema}, pg_temp SET lock_timeout = '2s' "
            f"AS $function${body}$function$"
        )
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO doorstep_app")


def let_rewrite_no_more() -> None:
    """Take back what `let_rewrite` made."""
    op.execute("DROP FUNCTION doorstep_rewrite, doorstep_rewritable, doorstep_oldest_wal")


_NAMES = ", ".join(f"'{table}'" for table in _REWRITTEN)

#: the tables that hold, or held, rows of a person whose check-ins expire on these days
_REWRITABLE = """
BEGIN
    RETURN QUERY SELECT unnest(ARRAY[-- names]);
    RETURN QUERY
        SELECT c.relname::text FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
        WHERE inhparent = 'check_ins'::regclass AND (
            c.relname = 'check_ins_default' OR EXISTS (
                SELECT 1 FROM unnest(days) AS day
                WHERE c.relname = 'check_ins_' || to_char(date_trunc('week', day), 'YYYYMMDD')
            )
        );
END
"""

# CLUSTER writes a table and its indexes into new files, in the order of the key, and leaves out
# what was deleted; unlike VACUUM it may be done here
_REWRITE = """
DECLARE
    key text;
BEGIN
    IF NOT (named IN (-- names) OR named = 'check_ins_default'
            OR named ~ '^check_ins_[0-9]{8}$') THEN
        RAISE EXCEPTION 'no such table';
    END IF;
    SELECT i.indexrelid::regclass::text INTO key FROM pg_index i
        WHERE i.indrelid = named::regclass AND i.indisprimary;
    EXECUTE format('CLUSTER %I USING %s', named, key);
END
"""

# since when what was deleted may still be in the write-ahead log: not everybody may look
_OLDEST_WAL = """
BEGIN
    RETURN (SELECT min(modification AT TIME ZONE 'UTC')::date FROM pg_ls_waldir());
EXCEPTION WHEN insufficient_privilege THEN RETURN NULL;
END
"""
