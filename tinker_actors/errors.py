"""Errors: everything that can go wrong, by whose fault it is.

One base class, `TinkerError`. Below it the official class names for what a server or the network says, and this
runtime's own names for what it found out by itself. Every error carries what is needed to act on it: the request
id, the status, the attempts made, whether trying again can help, and a sentence of advice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self, TypeVar

from tinker_actors.secrets import without_secrets
from tinker_actors.wording import sentence

Category = Literal["unknown", "server", "user"]
Outcome = Literal["not_applied", "applied", "unknown"]


class TinkerError(Exception):
    """Base of every error this package raises.

    Attributes:
        message: what happened, in one or two sentences.
        request_id: the server's id of the request, when it has one.
        status_code: the HTTP status, when there was an answer.
        category: whose fault the server says it is: `"user"`, `"server"` or `"unknown"`.
        retryable: whether the same call can succeed later without being changed.
        attempts: how many times the request was sent.
        outcome: what is known about its effect on the server.
        advice: what to do about it; empty when there is nothing useful to say.
        on_told: called whenever this error, or a replica of it, is given to the user: raised, returned or delivered
            to a callback. What he calls from then on, he calls knowing of it. None where nobody asks.
    """

    default_advice: ClassVar[str] = ""
    default_category: ClassVar[Category] = "unknown"
    default_retryable: ClassVar[bool] = False
    on_told: Callable[[], None] | None = None

    def __init__(
        self,
        message: str = "",
        *,
        request_id: str | None = None,
        status_code: int | None = None,
        category: Category | None = None,
        retryable: bool | None = None,
        attempts: int = 0,
        outcome: Outcome = "unknown",
        advice: str | None = None,
    ) -> None:
        self.message: str = without_secrets(message) if message else _summary(type(self))
        super().__init__(self.message)
        self.request_id = request_id
        self.status_code = status_code
        self.category: Category = category if category is not None else self.default_category
        self.retryable: bool = self.default_retryable if retryable is None else retryable
        self.attempts = attempts
        self.outcome: Outcome = outcome
        self.advice: str = self.default_advice if advice is None else advice

    def __str__(self) -> str:
        facts = []
        if self.status_code is not None:
            facts.append(f"status {self.status_code}")
        if self.request_id is not None:
            facts.append(f"request {without_secrets(self.request_id)}")
        if self.attempts > 1:
            facts.append(f"{self.attempts} attempts")
        text = self.message
        if facts:
            text = f"{text.removesuffix('.')} ({', '.join(facts)})."
        return f"{sentence(text)} {self.advice}" if self.advice else text

    def replica(self) -> Self:
        """Return a new error that says the same, for each future its own to raise. Unchained: it is told once."""
        return fresh(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as message plus attributes, whatever the subclass's constructor looks like."""
        return (_rebuild, (type(self), self.message, self._picklable_state()))

    def _picklable_state(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "on_told"}


def _summary(cls: type[TinkerError]) -> str:
    """Return what a class says of itself: the first line of its docstring or a base's, or its name under `-OO`."""
    docs = (vars(base).get("__doc__") for base in cls.__mro__ if issubclass(base, TinkerError))
    return next((doc.strip().splitlines()[0] for doc in docs if doc and doc.strip()), f"{cls.__name__}.")


E = TypeVar("E", bound=TinkerError)


def _rebuild(cls: type[E], message: str, state: dict[str, Any]) -> E:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


X = TypeVar("X", bound=BaseException)


def fresh(error: X) -> X:
    """Return an error that says the same as a stored one, to be raised in its place.

    Whoever raises an error hangs his frames on it, and with them all that they hold. What is kept, by a future or an
    actor, is therefore never raised itself. Class, text, attributes, notes, cause and the traceback so far are the
    same; an error of a foreign class that can't be copied is returned as it is.
    """
    try:
        twin = (
            _rebuild(type(error), error.message, dict(error.__dict__))
            if isinstance(error, TinkerError)
            else copy.copy(error)
        )
    except Exception:  # whatever its constructor asks for
        return error
    if hasattr(error, "__notes__"):
        twin.__notes__ = list(error.__notes__)
    twin.__cause__, twin.__context__ = error.__cause__, error.__context__
    twin.__suppress_context__ = error.__suppress_context__
    return twin.with_traceback(error.__traceback__)


# ---------------------------------------------------------------- yours: found before anything is sent


class ConfigError(TinkerError, ValueError):
    """The configuration is incomplete or contradicts itself."""

    default_category: ClassVar[Category] = "user"


class InvalidInputError(TinkerError, ValueError):
    """An argument can't be right; nothing was sent."""

    default_category: ClassVar[Category] = "user"


class ClientClosedError(TinkerError, RuntimeError):
    """The client was closed; nothing was sent."""

    default_category: ClassVar[Category] = "user"
    default_advice = "Create a new ServiceClient to go on."


class WouldDeadlockError(TinkerError, RuntimeError):
    """A result was waited for on a thread that has to produce it."""

    default_category: ClassVar[Category] = "user"
    default_advice = "Use add_done_callback or pipe_to, or wait on a thread of your own."


# ---------------------------------------------------------------- the server's answers, by the official names


class APIError(TinkerError):
    """The API could not be used as asked."""

    def __init__(self, message: str = "", request: Any = None, *, body: Any = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.request = request
        self.body = body

    def _picklable_state(self) -> dict[str, Any]:
        # A request or response object of a caller's HTTP library may hold sockets and credentials.
        return {**super()._picklable_state(), "request": None, "response": None}


class APIResponseValidationError(APIError):
    """The server's answer is not what the protocol promises."""

    default_category: ClassVar[Category] = "server"

    def __init__(self, message: str = "", response: Any = None, *, body: Any = None, **facts: Any) -> None:
        super().__init__(message, body=body, **facts)
        self.response = response


class APIStatusError(APIError):
    """The server answered with an error status."""

    def __init__(self, message: str = "", response: Any = None, body: Any = None, **facts: Any) -> None:
        if facts.get("status_code") is None:
            facts["status_code"] = getattr(response, "status_code", None)
        super().__init__(message, body=body, **facts)
        self.response = response


class BadRequestError(APIStatusError):
    """The server refused the request as malformed (400)."""

    default_category: ClassVar[Category] = "user"


class AuthenticationError(APIStatusError):
    """The server does not accept the credential (401)."""

    default_category: ClassVar[Category] = "user"
    default_advice = "Check TINKER_API_KEY or the api_key argument."


class BillingError(APIStatusError):
    """The account can't pay for the request (402)."""

    default_category: ClassVar[Category] = "user"


class PermissionDeniedError(APIStatusError):
    """The credential may not do this (403)."""

    default_category: ClassVar[Category] = "user"


class NotFoundError(APIStatusError):
    """What the request names does not exist (404)."""

    default_category: ClassVar[Category] = "user"


class ConflictError(APIStatusError):
    """The request contradicts what exists already (409)."""

    default_category: ClassVar[Category] = "user"


class UnprocessableEntityError(APIStatusError):
    """The request's content is not valid (422)."""

    default_category: ClassVar[Category] = "user"


class RateLimitError(APIStatusError):
    """The server asks to slow down (429)."""

    default_retryable = True


class InternalServerError(APIStatusError):
    """The server failed (500 or above)."""

    default_category: ClassVar[Category] = "server"
    default_retryable = True


class APIConnectionError(APIError):
    """No answer came: the connection could not be made, or broke."""

    default_retryable = True

    def __init__(self, message: str = "", request: Any = None, **facts: Any) -> None:
        super().__init__(message, request, **facts)


class APITimeoutError(APIConnectionError):
    """No answer came in time."""


class RequestFailedError(TinkerError):
    """The server accepted the operation and then failed it."""


# ---------------------------------------------------------------- what the runtime finds out by itself


class SessionLostError(TinkerError):
    """The server no longer knows the session; its models and samplers are gone."""

    default_category: ClassVar[Category] = "server"
    default_advice = (
        "Create a new ServiceClient and resume from the last checkpoint with "
        "create_training_client_from_state_with_optimizer."
    )


class PrecedingOperationFailed(TinkerError):  # noqa: N818 - the name users read in logs: it is a consequence, not a cause
    """An operation this one depends on failed, so this one was not applied, or had nothing to apply.

    Attributes:
        preceding: the error of the operation that failed first, or None when only the server knows it.
        preceding_seq_id: the number of that operation, where it was the server that said so.
    """

    default_category: ClassVar[Category] = "user"
    default_advice = "Look at what failed, then call this again: what is called from now on is done."

    def __init__(
        self,
        message: str = "",
        *,
        preceding: BaseException | None = None,
        preceding_seq_id: int | None = None,
        **facts: Any,
    ) -> None:
        facts.setdefault("outcome", "not_applied")
        super().__init__(message, **facts)
        self.preceding = preceding
        self.preceding_seq_id = preceding_seq_id


class StepTaintedError(TinkerError):
    """The server applied, or would apply, an optimizer step with part of its gradient missing.

    Attributes:
        preceding: the error of the gradient operation that failed.
    """

    default_category: ClassVar[Category] = "server"
    default_advice = (
        "Load a checkpoint with load_state_with_optimizer, or call acknowledge_failure() to go on with the "
        "weights as they are."
    )

    def __init__(self, message: str = "", *, preceding: BaseException | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.preceding = preceding


class OutcomeUnknownError(TinkerError):
    """Whether the operation was applied can't be known any more."""

    default_category: ClassVar[Category] = "server"
    default_advice = "Load the last checkpoint before training on: the weights may or may not include this operation."


class DeadlineExceededError(TinkerError, TimeoutError):
    """The time given for the result is over; the operation itself goes on.

    Attributes:
        future: the future that still waits for the result, or None.
    """

    default_retryable = True

    def __init__(self, message: str = "", *, future: Any = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.future = future

    def _picklable_state(self) -> dict[str, Any]:
        return {**super()._picklable_state(), "future": None}


class StalledError(APITimeoutError):
    """The server gave no sign of the operation for the whole liveness limit."""

    default_category: ClassVar[Category] = "server"


class SamplerLostError(TinkerError):
    """The sampler's weights are gone from the server."""

    default_category: ClassVar[Category] = "server"
    default_advice = "Create the sampler again from a saved checkpoint."


class QueueFullError(TinkerError, RuntimeError):
    """There is no room for another sample: those under way fill the memory that `Config(queue_bytes=)` allows."""

    default_advice = "Wait for results before asking for more, or raise Config(queue_bytes=) or Config(max_block=)."


class ForkedError(TinkerError, RuntimeError):
    """The client was made before this process was forked; its threads and connections stayed in the parent."""

    default_advice = "Make the client after os.fork(), or start processes with the spawn or forkserver method."


class ActorCrashedError(TinkerError, RuntimeError):
    """An actor of this runtime died of a defect; its handle can't be used any more."""

    default_advice = "Please report this with the traceback logged at ERROR."


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: BillingError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}

_FIRST_SERVER_ERROR = 500


def class_for_status(status: int) -> type[APIStatusError]:
    """Return the error class for an HTTP status (wire protocol 1.5): 500 and above are the server's."""
    if status >= _FIRST_SERVER_ERROR:
        return InternalServerError
    return _BY_STATUS.get(status, APIStatusError)
