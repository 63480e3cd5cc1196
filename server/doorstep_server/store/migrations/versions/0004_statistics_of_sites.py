"""Statistics of sites, renewed when very many were written

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


# whoever holds the lock is most likely at the same work
_ANALYZE = """
BEGIN
    ANALYZE sites, site_versions;
EXCEPTION WHEN lock_not_available THEN NULL;
END
"""


def upgrade() -> None:
    # only the owner of a table may renew its statistics; until autovacuum does, PostgreSQL takes
    # very many new sites for two, and its plans take seconds instead of milliseconds
    if not _on_postgresql():
        return
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar()
    op.execute(
        "CREATE FUNCTION doorstep_analyze_sites() RETURNS void LANGUAGE plpgsql "
        f"SECURITY DEFINER SET search_path = {schema}, pg_temp SET lock_timeout = '2s' "
        f"AS $function${_ANALYZE}$function$"
    )
    op.execute("REVOKE ALL ON FUNCTION doorstep_analyze_sites FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION doorstep_analyze_sites TO doorstep_app")


def downgrade() -> None:
    if _on_postgresql():
        op.execute("DROP FUNCTION doorstep_analyze_sites")


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
