"""What users are called where something is counted by user."""

from __future__ import annotations

from collections.abc import Collection

from pipeline import metrics
from pipeline.signals.processes import estate
from pipeline.users import OTHER, Claim, UserLabels

_labels = UserLabels()
#: Who can be asked for labels, the newest last: a process may have several clients, or one within its worker.
_claims: list[Claim] = []
#: Users whose series are there.
_begun: set[str] = set()


def label_users_by(claim: Claim) -> None:
    """From now on ask `claim` which users have a label of their own; until then none has."""
    _claims.append(claim)
    _ask_the_newest()


def label_users_without(claim: Claim) -> None:
    """Whoever came before it is asked again: this one is closed. The last one's labels stay as they are."""
    if claim in _claims:
        _claims.remove(claim)
        if _claims:
            _ask_the_newest()


def _ask_the_newest() -> None:
    global _labels  # noqa: PLW0603 - a process has one set of metrics
    _labels = UserLabels(_claims[-1], on_lost=user_forgotten)


def user_label(user_id: str) -> str:
    """What a user is called in metrics: every name of its own would be a series of its own."""
    return _labels.of(user_id)


def is_new(label: str) -> bool:
    """Whether the series under this label are yet to be made; whoever is told so makes them."""
    if label in _begun:
        return False
    _begun.add(label)
    return True


def users_met(user_ids: Collection[str]) -> None:
    """These users are about to be counted: one question for all of them is cheaper than one each."""
    _labels.learn(user_ids)


def users_known() -> frozenset[str]:
    """The users who have a label of their own, as far as this process has heard."""
    return _labels.known


def users_shown() -> set[str]:
    """The users who have a label of their own here."""
    return (estate.values("user_id") | _labels.known) - {OTHER}


def user_forgotten(user_id: str) -> None:
    """This user's name is to be seen no more. What was counted under it stays, under `other`."""
    if user_id == OTHER:
        return
    _labels.forget(user_id)

    def remove() -> None:
        _begun.discard(user_id)
        for labelled in (metrics.REQUESTS, metrics.REQUEST_DURATION, metrics.RATE_LIMIT_HITS):
            labelled.remove_by_labels({"user_id": user_id})

    estate.relabel("user_id", user_id, OTHER, remove)
