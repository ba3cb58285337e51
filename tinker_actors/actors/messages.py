"""Messages: what the actors tell each other.

Imperatives ask for something, past tenses report it. All are told unless the docstring says asked; a message that is
asked gives its error to the asker instead of killing the actor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from tinker_actors.errors import TinkerError
from tinker_actors.protocol.replies.outcomes import Accepted, Done
from tinker_actors.protocol.requests.operations import Operation
from tinker_actors.runtime.actor import Ref
from tinker_actors.runtime.futures import APIFuture


class Message(msgspec.Struct, frozen=True, eq=False):
    """Base of all messages."""


# ---------------------------------------------------------------- to a lane


class Arrived(Message, frozen=True, eq=False):
    """To a lane: there are works among the arrivals. Told once for all that came since the lane looked last."""


ARRIVED = Arrived()


class Eased(Message, frozen=True, eq=False):
    """To a lane: the server answers again, or takes requests again; what waited for that may go."""


EASED = Eased()


class Cancel(Message, frozen=True, eq=False):
    """To a lane: drop a work, and tell the server if it knows it.

    Attributes:
        work_id: which one; nothing happens when it is over already.
    """

    work_id: int


class Forget(Message, frozen=True, eq=False):
    """To a lane: drop these works, whose owner has failed them already. The server is not told.

    Attributes:
        work_ids: which; nothing happens for those that are over.
    """

    work_ids: tuple[int, ...]


class SamplerChanged(Message, frozen=True, eq=False):
    """To a lane, from the registry: look again at what is parked under this key."""

    key: int


class Verdict(Message, frozen=True, eq=False):
    """To a lane, from a session: the answer to a suspicion.

    Attributes:
        item_id: the work or call that raised it.
        alive: whether the session is well. When it is not, `DropSession` follows for everything it had. A session that
            is held gives none: `HoldSession` is its answer to all suspicions.
    """

    item_id: int
    alive: bool


# ---------------------------------------------------------------- to all who have to do with a session


class HoldSession(Message, frozen=True, eq=False):
    """From a session, to every lane and to every actor that uses it: it is lost, and may be well again.

    Lanes hold what belongs to it, and actors send nothing more for it, until they are told `ResumeSession` or
    `DropSession`.

    Attributes:
        session: the `SessionLink` of the work.
        error: why it is lost.
    """

    session: Any
    error: TinkerError


class ResumeSession(Message, frozen=True, eq=False):
    """From a session, to those who were told `HoldSession`: it is well again, with all that belonged to it.

    Attributes:
        session: the `SessionLink` of the work.
    """

    session: Any


class DropSession(Message, frozen=True, eq=False):
    """From a session, to every lane and to every actor that uses it: it has ended; fail what belongs to it.

    Also told to an actor that asks something of a session that has ended, or that there will never be.

    Attributes:
        session: the `SessionLink` of the work.
        error: what to fail it with.
    """

    session: Any
    error: TinkerError


# ---------------------------------------------------------------- to the session


class Suspicion(Message, frozen=True, eq=False):
    """To the session, from a lane: a 404 or 410 came; are we still known?

    Attributes:
        error: what came.
        reply_to: the lane, told a `Verdict`.
        item_id: for the verdict.
    """

    error: TinkerError
    reply_to: Ref
    item_id: int


class TakeNumber(Message, frozen=True, eq=False):
    """To the session: tell me the session id and the next number of a counter, once there is a session.

    Attributes:
        reply_to: told `NumberTaken`, or `DropSession` when there is no session any more.
        counter: `"model"` or `"sampler"` (wire protocol 6.1: one counter each per session).
        why: given back in the reply.
    """

    reply_to: Ref
    counter: Literal["model", "sampler"]
    why: Any = None


class NumberTaken(Message, frozen=True, eq=False):
    """From the session: the answer to `TakeNumber`.

    Attributes:
        session_id: the server's id of the session.
        number: the number, not given to anyone else.
        server: what the server said in `client/config`.
        why: as asked.
    """

    session_id: str
    number: int
    server: Any
    why: Any


# ---------------------------------------------------------------- to the training actor


class Perform(Message, frozen=True, eq=False):
    """To a training actor: do this operation after everything told before.

    Attributes:
        operation: validated and encoded.
        future: where the result goes; the actor settles it in every case.
        sampler: for `save_weights_for_sampler` without a name: the sampling actor that is told `Adopt`.
        then: what is done right behind it, with nothing in between.
    """

    operation: Operation
    future: APIFuture[Any]
    sampler: Ref | None = None
    then: Perform | None = None

    def all(self) -> Iterator[Perform]:
        """Return this and what is done right behind it."""
        each: Perform | None = self
        while each is not None:
            yield each
            each = each.then


class ChunkAccepted(Message, frozen=True, eq=False):
    """To a training actor, from its lane: a chunk was accepted."""

    work_id: int
    outcome: Accepted


class ChunkDone(Message, frozen=True, eq=False):
    """To a training actor, from its lane: a chunk's result."""

    work_id: int
    outcome: Done


class ChunkFailed(Message, frozen=True, eq=False):
    """To a training actor, from its lane: a chunk failed for good.

    Attributes:
        work_id: which chunk.
        error: why.
        accepted: whether the server had accepted it.
    """

    work_id: int
    error: TinkerError
    accepted: bool


class AcknowledgeFailure(Message, frozen=True, eq=False):
    """To a training actor: the user goes on with the weights as they are, whatever failed."""


class FailureTold(Message, frozen=True, eq=False):
    """To a training actor: the user was told of a failure; what he calls from now on he calls knowing it.

    Attributes:
        cause: which failure, in the actor's own count.
    """

    cause: int


class Release(Message, frozen=True, eq=False):
    """To a training actor: nobody holds the handle any more; stop when everything told is decided."""


class Barrier(Message, frozen=True, eq=False):
    """To a training, sampling or registry actor: settle this future when you owe nothing of what came before."""

    future: APIFuture[None]


class Unfinished(Message, frozen=True, eq=False):
    """To a training actor (asked): the names of the operations whose futures it has not settled."""


class DescribeModel(Message, frozen=True, eq=False):
    """To a training actor: settle the future with the model's `GetInfoResponse`."""

    future: APIFuture[Any]


class Replied(Message, frozen=True, eq=False):
    """To the actor that made a call: the reply.

    Attributes:
        to: which call, in the actor's own words.
        outcome: the reply.
    """

    to: Any
    outcome: Done


class CallFailed(Message, frozen=True, eq=False):
    """To the actor that made a call: it failed for good."""

    to: Any
    error: TinkerError


# ---------------------------------------------------------------- to sampling actors and the registry


class Adopt(Message, frozen=True, eq=False):
    """To a sampling actor: your sampling session was made along with the weights.

    Attributes:
        sampling_session_id: the server's id.
        base_model: name of the model behind it, when known.
        weights_version: number of optimizer steps behind the weights.
        order: place of the saving among the operations of its model.
    """

    sampling_session_id: str
    base_model: str | None
    weights_version: int
    order: int


class AdoptionFailed(Message, frozen=True, eq=False):
    """To a sampling actor: the weights could not be saved."""

    error: TinkerError


class Publish(Message, frozen=True, eq=False):
    """To the registry: this is the entry of a key from now on."""

    key: int
    entry: Any


class Retire(Message, frozen=True, eq=False):
    """To the registry: nobody samples under this key any more."""

    key: int


class Republish(Message, frozen=True, eq=False):
    """To a sampling actor: the registry was restarted; tell it your entry again."""


# ---------------------------------------------------------------- to everybody


class Shutdown(Message, frozen=True, eq=False):
    """End: settle what is pending with this error, then stop."""

    error: TinkerError


class PublishPolicy(Message, frozen=True, eq=False):
    """To the registry: once this sampler is ready, it is what the policy samples from, unless a newer one is.

    Attributes:
        policy: has the policy's registry `key`, its `name`, and what was said of it (`remarks`); kept until this is
            decided.
        lease: keeps the sampler published, first here and then in the policy's entry.
        future: settled with the sampler's weights version, or its error.
    """

    policy: Any
    lease: Any
    future: APIFuture[Any]


class TrainingEnded(Message, frozen=True, eq=False):
    """To the registry: nothing newer will be published than what was saved until now.

    Attributes:
        policies: registry keys of the policies of that training.
        error: why it ended.
    """

    policies: tuple[int, ...]
    error: TinkerError
