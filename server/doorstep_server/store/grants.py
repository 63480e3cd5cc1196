"""Roles and rights on PostgreSQL: what the owner prepares, and what the server insists on."""

from sqlalchemy import Connection, text

from doorstep_server.store.database import AccessRefused, DatabaseUnavailable, UnsupportedDatabase
from doorstep_server.store.reach import APP_ROLE
from doorstep_server.store.schema import metadata


def prepare(connection: Connection, user: str) -> None:
    """As the owner: PostGIS, the role of the server's transactions, and who may take it.

    What is there already is left as it is, so a user with few rights can do the rest.
    """
    _require_usable(connection)
    if not _scalar(connection, "SELECT count(*) FROM pg_extension WHERE extname = 'postgis'"):
        connection.execute(text("CREATE EXTENSION postgis"))
    if not _scalar(connection, "SELECT count(*) FROM pg_roles WHERE rolname = :app"):
        connection.execute(text(_CREATE_ROLE))
    # whoever makes the schema fills it in as the server would, so they need the role as well
    for member in {user, str(_scalar(connection, "SELECT current_user"))}:
        _let_take_the_role(connection, member)
    _let_connect(connection, user)
    connection.execute(text(f"GRANT USAGE ON SCHEMA {_schema(connection)} TO {APP_ROLE}"))
    _let_the_index_be_used(connection)
    _keep_values_out_of_logs(connection)


# roles belong to the whole server: another database's owner may make it at the same moment
_CREATE_ROLE = f"""
    DO $$ BEGIN
        CREATE ROLE {APP_ROLE} NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END $$
"""


def _require_usable(connection: Connection) -> None:
    if _scalar(connection, "SHOW server_encoding") != "UTF8":
        raise UnsupportedDatabase(
            "The database cannot hold every text: make it with ENCODING 'UTF8' (and TEMPLATE "
            "template0)."
        )
    if not _scalar(
        connection, "SELECT count(*) FROM pg_available_extensions WHERE name = 'postgis'"
    ):
        raise UnsupportedDatabase(
            "PostGIS is not installed on the database's server: on Debian it is the package "
            "postgresql-postgis."
        )


def _let_take_the_role(connection: Connection, member: str) -> None:
    # since PostgreSQL 16 who made a role is a member that may not take it
    version = connection.dialect.server_version_info or (0,)
    kind = "SET" if version >= (16,) else "MEMBER"
    if not _scalar(connection, f"SELECT pg_has_role(:member, :app, '{kind}')", member=member):
        connection.execute(text(f"GRANT {APP_ROLE} TO {_quoted(connection, member)}"))


def _let_connect(connection: Connection, user: str) -> None:
    """Only who is told may: the role is that of every deployment on the same server."""
    if _scalar(connection, _PUBLIC_MAY_CONNECT):
        database = _quoted(connection, str(_scalar(connection, "SELECT current_database()")))
        connection.execute(text(f"REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC"))
        connection.execute(
            text(f"GRANT CONNECT ON DATABASE {database} TO {_quoted(connection, user)}")
        )


_PUBLIC_MAY_CONNECT = """
    SELECT count(*) FROM pg_database,
        LATERAL aclexplode(coalesce(datacl, acldefault('d', datdba))) AS granted
    WHERE datname = current_database() AND grantee = 0 AND privilege_type = 'CONNECT'
"""


def _let_the_index_be_used(connection: Connection) -> None:
    """Under row level security an index serves only conditions that are known to leak nothing.

    PostGIS does not say so of comparing two boxes, though it raises no error that could quote one.
    Only a superuser may say it; without it, searching an area looks at all sites of the tenant.
    """
    overlaps = "to_regprocedure('geometry_overlaps(geometry, geometry)')"
    said = _scalar(connection, f"SELECT proleakproof FROM pg_proc WHERE oid = {overlaps}")  # noqa: S608
    if said is False and _scalar(connection, "SELECT current_setting('is_superuser')") == "on":
        connection.execute(text("ALTER FUNCTION geometry_overlaps(geometry, geometry) LEAKPROOF"))


def _keep_values_out_of_logs(connection: Connection) -> None:
    """Whatever the server of the database logs, the values of our statements are not in it.

    They would tell who checked in when: by the token that is looked up. Statements themselves name
    them only ($1); an error says in its details which row it was about. Only a superuser may say
    it; without it, it is the operator's to do.
    """
    if _scalar(connection, "SELECT current_setting('is_superuser')") != "on":
        return
    database = _quoted(connection, str(_scalar(connection, "SELECT current_database()")))
    for setting in _VALUELESS:
        connection.execute(text(f"ALTER DATABASE {database} SET {setting}"))
        # this connection was opened before
        connection.execute(text(f"SET LOCAL {setting}"))


_VALUELESS = (
    "log_parameter_max_length = 0",
    "log_parameter_max_length_on_error = 0",
    "log_error_verbosity = terse",
)


def require(connection: Connection) -> None:
    """Raise `DatabaseUnavailable` unless this transaction may write and is bound by its reach."""
    if _scalar(connection, "SELECT current_setting('transaction_read_only')") == "on":
        raise DatabaseUnavailable("read-only")
    tables = [table.name for table in metadata.sorted_tables if "tenant_id" in table.c]
    bound = "SELECT bool_and(row_security_active(name)) FROM unnest(CAST(:names AS text[])) AS name"
    if not connection.execute(text(bound), {"names": tables}).scalar():
        raise AccessRefused("row level security does not bind the server")


def _schema(connection: Connection) -> str:
    return _quoted(connection, str(_scalar(connection, "SELECT current_schema()")))


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)


def _scalar(connection: Connection, query: str, **values: str) -> object:
    if ":app" in query:
        values["app"] = APP_ROLE
    return connection.execute(text(query), values).scalar()
