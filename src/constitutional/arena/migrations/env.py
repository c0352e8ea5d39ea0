"""How Alembic reaches a votes database: over the connection that ``Database.open`` gives it."""

from alembic import context

from constitutional.arena.schema import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
