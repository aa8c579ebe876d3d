"""What Alembic runs: it brings its caller's connection up to date, within the caller's transaction."""

from alembic import context

from radiarch_plugin.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite can change tables in a transaction, though sqlite3 alone does not: a step is done whole or not at all
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
