"""The tables of a votes database. Rows are added and never changed; nothing is deleted.

A judgement stands until an undo names it. ``round`` counts how often the rater took a judgement on
this pair back, so that the key over rater, pair and round lets one judgement stand at a time,
whatever is sent at once.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import DateTime, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """All tables; the names of keys are the same in every database, which migrations need."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )


class PairRow(Base):
    """A pair of answers; ``content`` is its line of JSON, ``run_a`` and ``run_b`` are in it too."""

    __tablename__ = "pair"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    run_a: Mapped[str] = mapped_column(String(16))
    run_b: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(Text)


class RaterRow(Base):
    """A person. Of the token only its SHA-256 is kept."""

    __tablename__ = "rater"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    token: Mapped[str] = mapped_column(String(64), unique=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class JudgementRow(Base):
    """A vote, a tie or a skip."""

    __tablename__ = "judgement"
    __table_args__ = (
        UniqueConstraint("rater", "pair", "round"),
        Index(None, "pair"),
    )

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(36), unique=True)
    rater: Mapped[int] = mapped_column(ForeignKey("rater.id"))
    pair: Mapped[str] = mapped_column(ForeignKey("pair.id"))
    round: Mapped[int]
    choice: Mapped[str] = mapped_column(String(4))
    shown: Mapped[str] = mapped_column(String(2))
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class UndoRow(Base):
    """That a judgement was taken back."""

    __tablename__ = "undo"

    judgement: Mapped[str] = mapped_column(ForeignKey("judgement.id"), primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
