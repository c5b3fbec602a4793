"""One attempt: run the agent, turn whatever happens into one ending."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

import structlog

from pipeline.agents import Agent
from pipeline.errors import AttemptInterrupted, Deferred, ProviderError
from pipeline.providers.contract import Provider
from pipeline.providers.verdict import SLACK
from pipeline.retry import Failure, RetryPolicy, decide
from pipeline.schemas import Call, Message, Reply, Status
from pipeline.store.ledger import Claim, Ending
from pipeline.stream import Feed
from pipeline.text import clean
from pipeline.turn import TURN_MAX, Turn
from pipeline.worker.held import INTERRUPTED, RUN_LIMIT, Control

log = structlog.get_logger(__name__)

#: Most characters of an agent's traceback that are kept.
TRACEBACK_MAX = 8000

#: Who waits for one of these comes back to the moment, and keeps a place of their user meanwhile: of one user's flood
#: no more stand in a provider's line than the user has places.
IN_LINE = frozenset({"concurrency", "requests_per_minute", "tokens_per_minute"})


@dataclass(frozen=True, slots=True)
class Run:
    """What came of an attempt: how the request is to end, None where that is not this worker's to say any more;
    and the calls that were made either way."""

    ending: Ending | None
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Attempt:
    """What it takes to run claims: the agents, the provider, the rules of retrying."""

    agents: dict[str, Agent]
    provider: Provider | None
    policy: RetryPolicy
    #: Seconds: the longest delay that the broker carries.
    countdown_max: float

    def run(self, claim: Claim, control: Control, feed: Feed) -> Run:
        """Answer the request."""
        agent = self.agents.get(claim.agent)
        turn = Turn(claim, control, feed, self.provider, agent.system if agent else None)
        return Run(self._ending(agent, turn, control), tuple(turn.calls))

    def _ending(self, agent: Agent | None, turn: Turn, control: Control) -> Ending | None:
        if agent is None:
            error = f"this worker has no agent {turn.claim.agent!r}: set CITE_AGENT_AGENTS for it too"
            return self._ended(turn, Status.failed, reason="agent_error", error=error)
        try:
            return self._answered(agent, turn, control)
        except BaseException:  # noqa: BLE001 - an agent may raise whatever it likes; it is on record
            if control.interrupted is not None:
                return self._interrupted(turn, control.interrupted)
            error = clean(traceback.format_exc())[0][-TRACEBACK_MAX:]
            return self._ended(turn, Status.failed, reason="agent_error", error=error)

    def _answered(self, agent: Agent, turn: Turn, control: Control) -> Ending | None:
        """Raises what the agent raises, and whatever comes of the facts in it: it may be of our kind, but not ours."""
        try:
            answer = agent.answer(turn)
            control.check_limit()
            return self._succeeded(turn, answer)
        except AttemptInterrupted:
            if control.interrupted is None:
                raise
            return self._interrupted(turn, control.interrupted)
        except (Deferred, ProviderError) as fault:
            return self._unanswered(turn, control, fault)

    def _succeeded(self, turn: Turn, answer: str | Reply) -> Ending:
        said = answer.text if isinstance(answer, Reply) else answer
        if not isinstance(said, str):
            error = f"the agent returned a {type(said).__name__}, not a str or a Reply"
            return self._ended(turn, Status.failed, reason="agent_error", error=error)
        text, cleaned = clean(said)
        metadata = {"cleaned": True} if cleaned or turn.cleaned else {}
        size = turn.recorded_size + len(text.encode())
        if size > TURN_MAX:
            error = f"what the agent recorded and returned is {size} bytes long, more than {TURN_MAX}"
            return self._ended(turn, Status.failed, reason="agent_error", error=error)
        spoken = (Message("user", turn.text), *turn.recorded, Message("assistant", text, metadata=metadata))
        return self._ended(turn, Status.succeeded, messages=spoken)

    def _interrupted(self, turn: Turn, why: str) -> Ending | None:
        if why == INTERRUPTED:
            return self._ended(turn, Status.cancelled, reason=INTERRUPTED, messages=_so_far(turn))
        if why != RUN_LIMIT:
            return None  # cancelled, taken over, or stopping: the ledger knows, or will, without this worker
        if turn.deadline_left <= 0:
            return self._ended(turn, Status.expired)
        return self._failed(turn, Failure("timeout"))

    def _unanswered(self, turn: Turn, control: Control, fault: Deferred | ProviderError) -> Ending | None:
        """Where no provider could be called, an attempt that has called one before is retried; any other has not
        begun, and is put off."""
        if control.interrupted == INTERRUPTED:
            return self._interrupted(turn, INTERRUPTED)
        if isinstance(fault, ProviderError):
            failure = Failure.of(fault)
            if failure.reason == "timeout" and turn.deadline_left <= SLACK:
                return self._ended(turn, Status.expired)  # the call was cut off there: nobody was too slow
            return self._failed(turn, failure)
        seconds = float(fault.seconds)
        if turn.calls:
            return self._failed(turn, Failure(fault.reason, retry_after=min(seconds, self.policy.longest)))
        countdown = fault.reason in IN_LINE and seconds <= self.countdown_max
        return self._ended(turn, Status.queued, reason=fault.reason, delay=seconds, countdown=countdown)

    def _failed(self, turn: Turn, failure: Failure) -> Ending:
        claim = turn.claim
        decision = decide(
            failure,
            self.policy,
            attempt=claim.attempt,
            max_attempts=claim.max_attempts,
            seconds_left=turn.deadline_left,
        )
        if not decision.retry:
            return self._ended(turn, Status.failed, reason=failure.reason)
        countdown = decision.delay <= self.countdown_max
        return self._ended(turn, Status.retrying, reason=failure.reason, delay=decision.delay, countdown=countdown)

    def _ended(
        self,
        turn: Turn,
        status: Status,
        *,
        reason: str | None = None,
        error: str | None = None,
        delay: float | None = None,
        countdown: bool = False,
        messages: tuple[Message, ...] = (),
    ) -> Ending:
        claim = turn.claim
        return Ending(
            id=claim.id,
            status=status,
            fence=claim.fence,
            user_id=claim.user_id,
            session_id=claim.session_id,
            position=claim.position,
            reason=reason,
            error=error,
            delay=delay,
            countdown=countdown,
            messages=messages,
            calls=tuple(turn.calls),
            attempt=claim.attempt,
        )


def _so_far(turn: Turn) -> tuple[Message, ...]:
    """What is kept of a turn that the next one interrupts: the question, and what was said by then, if anything."""
    marked = {"interrupted": True}
    said, cleaned = clean(turn.said)
    question = Message("user", turn.text, metadata=marked)
    if not said.strip() or len(said.encode()) > TURN_MAX:
        return (question,)
    metadata = {**marked, "cleaned": True} if cleaned or turn.cleaned else marked
    return (question, Message("assistant", said, metadata=metadata))
