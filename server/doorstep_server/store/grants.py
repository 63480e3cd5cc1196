"""Roles and rights on PostgreSQL: what the owner prepares, and what the server insists on."""

from sqlalchemy import Connection, text

from doorstep_server.store.database import AccessRefused, DatabaseUnavailable
from doorstep_server.store.reach import APP_ROLE
from doorstep_server.store.schema import metadata


def prepare(connection: Connection, user: str) -> None:
    """As the owner: PostGIS, the role of the server's transactions, and who may take it.

    What is there already is left as it is, so a user with few rights can do the rest.
    """
    if not _scalar(connection, "SELECT count(*) FROM pg_extension WHERE extname = 'postgis'"):
        connection.execute(text("CREATE EXTENSION postgis"))
    if not _scalar(connection, "SELECT count(*) FROM pg_roles WHERE rolname = :app"):
        connection.execute(text(f"CREATE ROLE {APP_ROLE} NOLOGIN"))
    # whoever makes the schema fills it in as the server would, so they need the role as well
    for member in {user, str(_scalar(connection, "SELECT current_user"))}:
        if not _scalar(connection, "SELECT pg_has_role(:member, :app, 'MEMBER')", member=member):
            quoted = connection.dialect.identifier_preparer.quote_identifier(member)
            connection.execute(text(f"GRANT {APP_ROLE} TO {quoted}"))
    connection.execute(text(f"GRANT USAGE ON SCHEMA {_schema(connection)} TO {APP_ROLE}"))
    _let_the_index_be_used(connection)


def _let_the_index_be_used(connection: Connection) -> None:
    """Under row level security an index serves only conditions that are known to leak nothing.

    PostGIS does not say so of comparing two boxes, though it raises no error that could quote one.
    Only a superuser may say it; without it, searching an area looks at all sites of the tenant.
    """
    overlaps = "to_regprocedure('geometry_overlaps(geometry, geometry)')"
    said = _scalar(connection, f"SELECT proleakproof FROM pg_proc WHERE oid = {overlaps}")  # noqa: S608
    if said is False and _scalar(connection, "SELECT current_setting('is_superuser')") == "on":
        connection.execute(text("ALTER FUNCTION geometry_overlaps(geometry, geometry) LEAKPROOF"))


def require(connection: Connection) -> None:
    """Raise `DatabaseUnavailable` unless this transaction may write and is bound by its reach."""
    if _scalar(connection, "SELECT current_setting('transaction_read_only')") == "on":
        raise DatabaseUnavailable("read-only")
    tables = [table.name for table in metadata.sorted_tables if "tenant_id" in table.c]
    bound = "SELECT bool_and(row_security_active(name)) FROM unnest(CAST(:names AS text[])) AS name"
    if not connection.execute(text(bound), {"names": tables}).scalar():
        raise AccessRefused("row level security does not bind the server")


def _schema(connection: Connection) -> str:
    schema = str(_scalar(connection, "SELECT current_schema()"))
    return connection.dialect.identifier_preparer.quote_identifier(schema)


def _scalar(connection: Connection, query: str, **values: str) -> object:
    if ":app" in query:
        values["app"] = APP_ROLE
    return connection.execute(text(query), values).scalar()
