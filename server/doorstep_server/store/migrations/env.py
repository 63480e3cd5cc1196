"""Alembic's entry: always runs on a connection and in a transaction that the caller opened."""

from alembic import context

from doorstep_server.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    user_module_prefix="columns.",
)
context.run_migrations()
