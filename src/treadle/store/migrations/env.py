"""How alembic runs the revisions: on the connection, and in the transaction, that `schema.upgrade` hands over."""

from alembic import context

from treadle.store.automation_tables import EVERYTHING

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=EVERYTHING,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
