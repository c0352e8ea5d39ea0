"""Pairs, raters, judgements and undos."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the four tables."""
    op.create_table(
        "pair",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("run_a", sa.String(16), nullable=False),
        sa.Column("run_b", sa.String(16), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pair"),
    )
    op.create_table(
        "rater",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rater"),
        sa.UniqueConstraint("name", name="uq_rater_name"),
        sa.UniqueConstraint("token", name="uq_rater_token"),
    )
    op.create_table(
        "judgement",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("rater", sa.Integer(), nullable=False),
        sa.Column("pair", sa.String(32), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("choice", sa.String(4), nullable=False),
        sa.Column("shown", sa.String(2), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_judgement"),
        sa.UniqueConstraint("id", name="uq_judgement_id"),
        sa.UniqueConstraint("rater", "pair", "round", name="uq_judgement_rater_pair_round"),
        sa.ForeignKeyConstraint(["rater"], ["rater.id"], name="fk_judgement_rater"),
        sa.ForeignKeyConstraint(["pair"], ["pair.id"], name="fk_judgement_pair"),
    )
    op.create_index("ix_judgement_pair", "judgement", ["pair"])
    op.create_table(
        "undo",
        sa.Column("judgement", sa.String(36), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("judgement", name="pk_undo"),
        sa.ForeignKeyConstraint(["judgement"], ["judgement.id"], name="fk_undo_judgement"),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("undo", "judgement", "rater", "pair"):
        op.drop_table(table)
