"""What revision 0001 makes on PostgreSQL besides tables: rights, row level security, partitions."""

from collections.abc import Mapping, Sequence

from alembic import op

#: what the server's transactions may do with each table; check-ins are never changed
RIGHTS = {
    "alembic_version": "SELECT",
    "deployment": "SELECT",
    "tenants": "SELECT, INSERT",
    "changes": "SELECT, INSERT, UPDATE",
    "api_keys": "SELECT, INSERT, UPDATE",
    "purposes": "SELECT, INSERT, UPDATE",
    "sites": "SELECT, INSERT, UPDATE",
    "site_versions": "SELECT, INSERT",
    "subjects": "SELECT, INSERT, UPDATE",
    "enrollment_codes": "SELECT, INSERT, UPDATE, DELETE",
    "devices": "SELECT, INSERT, UPDATE",
    "device_tokens": "SELECT, INSERT, UPDATE, DELETE",
    "check_ins": "SELECT, INSERT",
    "receipts": "SELECT, INSERT, DELETE",
    "tallies": "SELECT, INSERT, UPDATE",
}
_SHARED = {"alembic_version", "deployment"}

# in a subquery, so that it is worked out once for a statement and not once for a row
_NAMED = """
    tenant_id = ANY (
        (SELECT string_to_array(current_setting('doorstep.tenants', true), ',')::uuid[])::uuid[]
    )
"""
_LOOKED_UP = """
    handle = (SELECT current_setting('doorstep.handle', true))
    OR (SELECT current_setting('doorstep.directory', true)) = 'on'
"""


def secure(rights_of: Mapping[str, str] = RIGHTS) -> None:
    """Rights of the role doorstep_app, and row level security that binds even the owner."""
    for table, rights in rights_of.items():
        op.execute(f"GRANT {rights} ON {table} TO doorstep_app")
        if table not in _SHARED:
            op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
            op.execute(
                f"CREATE POLICY named_tenants ON {table} TO doorstep_app "
                f"USING ({_NAMED}) WITH CHECK ({_NAMED})"
            )
    if "tenants" not in rights_of:
        return
    op.execute(
        f"CREATE POLICY looked_up ON tenants FOR SELECT TO doorstep_app USING ({_LOOKED_UP})"
    )


def partition(without_statistics: Sequence[str] = ()) -> None:
    """The default partition, and what makes and drops the weekly ones.

    Only the owner may do that, so these functions run with the owner's rights, and each does one
    thing only: the server may have partitions made, and those dropped in which everything has
    expired. Nobody may read a partition but through the table, where row level security is.
    """
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar()
    op.execute("CREATE TABLE check_ins_default PARTITION OF check_ins DEFAULT")
    for column in without_statistics:
        op.execute(f"ALTER TABLE check_ins_default ALTER COLUMN {column} SET STATISTICS 0")
    for function, arguments, body in (
        (
            "doorstep_make_partitions",
            "first date, last date",
            _MAKE.replace("-- statistics", "\n".join(map(_no_statistics, without_statistics))),
        ),
        ("doorstep_drop_expired", "today date", _DROP),
    ):
        # a lock that is not had at once must not make check-ins queue behind it
        op.execute(
            f"CREATE FUNCTION {function}({arguments}) RETURNS integer LANGUAGE plpgsql "
            f"SECURITY DEFINER SET search_path = {schema}, pg_temp SET lock_timeout = '2s' "
            f"AS $function${body}$function$"
        )
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO doorstep_app")


def _no_statistics(column: str) -> str:
    """A partition does not take this over from its table."""
    said = f"ALTER TABLE %I ALTER COLUMN {column} SET STATISTICS 0"
    return f"EXECUTE format('{said}', name);"


def unpartition() -> None:
    """Take back what `partition` made, except the partitions: they go with their table."""
    op.execute("DROP FUNCTION doorstep_drop_expired, doorstep_make_partitions")


_MAKE = """
DECLARE
    week date := pg_catalog.date_trunc('week', first::timestamp);
    made integer := 0;
    name text;
BEGIN
    WHILE week <= last LOOP
        name := 'check_ins_' || to_char(week, 'YYYYMMDD');
        IF to_regclass(quote_ident(name)) IS NULL THEN
            -- attached when it is whole: that locks the table less than making it a part at once
            EXECUTE format('CREATE TABLE %I (LIKE check_ins INCLUDING ALL)', name);
            -- statistics
            LOCK TABLE check_ins_default IN ACCESS EXCLUSIVE MODE;
            EXECUTE format(
                'WITH moved AS (DELETE FROM check_ins_default WHERE expires_on >= %L '
                'AND expires_on < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
                week, week + 7, name
            );
            EXECUTE format(
                'ALTER TABLE check_ins ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                name, week, week + 7
            );
            made := made + 1;
        END IF;
        week := week + 7;
    END LOOP;
    RETURN made;
END
"""

_DROP = """
DECLARE
    -- whoever asks cannot make time pass
    expired date := least(today, (now() AT TIME ZONE 'UTC')::date);
    name text;
    dropped integer := 0;
BEGIN
    FOR name IN
        SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
        WHERE inhparent = 'check_ins'::regclass AND c.relname ~ '^check_ins_[0-9]{8}$'
        ORDER BY 1
    LOOP
        IF to_date(right(name, 8), 'YYYYMMDD') + 6 <= expired THEN
            EXECUTE format('DROP TABLE %I', name);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    DELETE FROM check_ins_default WHERE expires_on <= expired;
    RETURN dropped;
END
"""
