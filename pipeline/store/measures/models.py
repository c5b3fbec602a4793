"""The tables of what metrics keep, as SQLAlchemy sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Identity, func
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.store.models import Base


class MetricUser(Base):
    """A user with a label of their own in metrics; there is room for some in the whole fleet."""

    __tablename__ = "metric_users"

    user_id: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(server_default=func.now())


class MetricEstate(Base):
    """What a process that has ended had counted and nobody had scraped, until another adopts it."""

    __tablename__ = "metric_estates"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    left_at: Mapped[datetime] = mapped_column(server_default=func.now())
    #: `[name, [[label, value], …], count]` for each series.
    totals: Mapped[list[Any]]
