"""What revision 0006 makes on PostgreSQL: writing a day's check-ins anew, in one transaction."""

from alembic import op


def let_mix() -> None:
    """Check-ins are never changed by the server's role: this changes none of their values."""
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar()
    op.execute(
        f"CREATE FUNCTION doorstep_mix(day date) RETURNS integer LANGUAGE plpgsql "
        f"SECURITY DEFINER SET search_path = {schema}, pg_temp SET lock_timeout = '2s' "
        f"AS $function${_MIX}$function$"
    )
    op.execute("REVOKE ALL ON FUNCTION doorstep_mix FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION doorstep_mix TO doorstep_app")


def let_mix_no_more() -> None:
    """Take back what `let_mix` made."""
    op.execute("DROP FUNCTION doorstep_mix")


# An update, not a deletion and an insertion: an erasure that waits for the row must find it again.
# Nor does it wait for a row that an erasure has locked: that one is mixed the next time. The order
# is that of the ids, which are random: so tables are joined by looking up one place after another.
_MIX = """
DECLARE
    named text := 'check_ins_' || to_char(date_trunc('week', day), 'YYYYMMDD');
    several boolean;
    mixed integer := 0;
BEGIN
    IF to_regclass(quote_ident(named)) IS NULL THEN
        named := 'check_ins_default';
    END IF;
    EXECUTE format(
        'SELECT min(xmin::text) <> max(xmin::text) FROM %I WHERE expires_on = $1', named
    ) INTO several USING day;
    IF several THEN
        PERFORM set_config('enable_hashjoin', 'off', true);
        PERFORM set_config('enable_mergejoin', 'off', true);
        EXECUTE format(
            'UPDATE %1$I AS mixed SET expires_on = mixed.expires_on FROM ('
            'SELECT ctid AS place FROM %1$I WHERE expires_on = $1 ORDER BY id '
            'FOR UPDATE SKIP LOCKED) AS found WHERE mixed.ctid = found.place', named
        ) USING day;
        GET DIAGNOSTICS mixed = ROW_COUNT;
    END IF;
    RETURN mixed;
END
"""
