"""Row level security that the planner does not take for a search

Revision ID: 0008
Revises: 0007
"""

from collections.abc import Iterator

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# PostgreSQL looked rows up by this condition too, as if there could be many tenants: without
# statistics it then found all of a tenant's rows no dearer to go through than one to look up.
# This one is asked of the rows that the statement's own `tenant_id = …` finds.
_CONTAINED = """
    (SELECT string_to_array(current_setting('doorstep.tenants', true), ',')::uuid[])
    @> ARRAY[tenant_id]
"""
_EQUAL_TO_ONE = """
    tenant_id = ANY (
        (SELECT string_to_array(current_setting('doorstep.tenants', true), ',')::uuid[])::uuid[]
    )
"""


def upgrade() -> None:
    _name_tenants(_CONTAINED)


def downgrade() -> None:
    _name_tenants(_EQUAL_TO_ONE)


def _name_tenants(condition: str) -> None:
    for table in _secured():
        op.execute(
            f"ALTER POLICY named_tenants ON {table} USING ({condition}) WITH CHECK ({condition})"
        )


def _secured() -> Iterator[str]:
    if op.get_bind().dialect.name != "postgresql":
        return
    yield from (
        op.get_bind()
        .exec_driver_sql(
            "SELECT quote_ident(tablename) FROM pg_policies "
            "WHERE policyname = 'named_tenants' AND schemaname = current_schema()"
        )
        .scalars()
        .all()
    )
