"""Errors: what they carry, how they read, and that they survive a pickle."""

from __future__ import annotations

import builtins
import pickle
import threading
import traceback

import pytest

from tinker_actors import errors

CLASSES = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.TinkerError)
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_made_of_a_message_alone_and_says_so(cls):
    error = cls("It broke.")
    assert isinstance(error, errors.TinkerError)
    assert error.message == "It broke."
    assert str(error).startswith("It broke.")
    assert error.category in {"user", "server", "unknown"}
    assert error.outcome in {"unknown", "not_applied"}
    assert (error.request_id, error.status_code, error.attempts) == (None, None, 0)


@pytest.mark.parametrize("cls", CLASSES)
def test_without_a_message_the_class_speaks(cls):
    assert cls().message == cls.__doc__.splitlines()[0]


class Mine(errors.RateLimitError):
    pass


def test_a_users_class_without_a_docstring_speaks_as_its_base():
    assert Mine().message == errors.RateLimitError.__doc__.splitlines()[0]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_a_pickle_with_its_facts(cls):
    error = cls("m", request_id="r", status_code=503, attempts=3, retryable=True, outcome="applied", advice="Do it.")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert copy.args == error.args
    facts = ("message", "request_id", "status_code", "category", "retryable", "attempts", "outcome", "advice")
    assert [getattr(copy, name) for name in facts] == [getattr(error, name) for name in facts]


def test_the_text_has_the_facts_and_the_advice():
    error = errors.RequestFailedError("It broke.", request_id="r-1", status_code=400, attempts=3, advice="Fix it.")
    assert str(error) == "It broke (status 400, request r-1, 3 attempts). Fix it."
    assert str(errors.RequestFailedError("It broke.", attempts=1)) == "It broke."


def test_advice_can_be_replaced_and_left_out():
    assert "TINKER_API_KEY" in str(errors.AuthenticationError("No."))
    assert str(errors.AuthenticationError("No.", advice="")) == "No."


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.BadRequestError),
        (401, errors.AuthenticationError),
        (402, errors.BillingError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (422, errors.UnprocessableEntityError),
        (429, errors.RateLimitError),
        (500, errors.InternalServerError),
        (599, errors.InternalServerError),
        (410, errors.APIStatusError),
        (302, errors.APIStatusError),
    ],
)
def test_each_status_has_its_class(status, cls):
    assert errors.class_for_status(status) is cls


@pytest.mark.parametrize(
    ("cls", "parents"),
    [
        (errors.ConfigError, (ValueError,)),
        (errors.InvalidInputError, (ValueError,)),
        (errors.ClientClosedError, (RuntimeError,)),
        (errors.WouldDeadlockError, (RuntimeError,)),
        (errors.ActorCrashedError, (RuntimeError,)),
        (errors.DeadlineExceededError, (builtins.TimeoutError,)),
        (errors.APITimeoutError, (errors.APIConnectionError, errors.APIError)),
        (errors.StalledError, (errors.APITimeoutError,)),
        (errors.BadRequestError, (errors.APIStatusError, errors.APIError)),
        (errors.APIResponseValidationError, (errors.APIError,)),
    ],
)
def test_errors_are_caught_under_the_names_people_use(cls, parents):
    assert issubclass(cls, parents)
    assert all(issubclass(cls, parent) for parent in parents)


def test_the_official_form_of_a_status_error_is_understood():
    class Response:
        status_code = 400
        socket = object()

    error = errors.BadRequestError("no", response=Response(), body={"detail": "x"})
    assert (error.status_code, error.body) == (400, {"detail": "x"})
    assert isinstance(error.response, Response)
    assert errors.BadRequestError("no", Response(), {}, status_code=418).status_code == 418


def test_a_pickle_leaves_live_objects_behind():
    held = threading.Lock()  # can't be pickled
    for error in (
        errors.BadRequestError("m", response=held),
        errors.APIConnectionError("m", request=held),
        errors.DeadlineExceededError("m", future=held),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert held not in vars(copy).values()
        assert held in vars(error).values()


def test_a_consequence_keeps_its_cause():
    cause = errors.RequestFailedError("gradient")
    failed = errors.PrecedingOperationFailed("step", preceding=cause)
    assert failed.outcome == "not_applied"
    assert failed.preceding is cause
    assert str(pickle.loads(pickle.dumps(failed)).preceding) == "gradient"
    assert errors.StepTaintedError("step", preceding=cause).outcome == "unknown"


def test_only_what_can_pass_is_retryable_by_itself():
    retryable = {cls.__name__ for cls in CLASSES if cls("m").retryable}
    assert retryable == {
        "RateLimitError", "InternalServerError", "APIConnectionError", "APITimeoutError", "StalledError",
        "DeadlineExceededError",
    }  # fmt: skip


def test_a_replica_that_is_raised_is_told_once():
    reason = ValueError("the reason")
    error = errors.RequestFailedError("it broke")
    error.__cause__ = reason
    with pytest.raises(errors.RequestFailedError) as caught:
        raise errors.fresh(error.replica().replica())
    told = "".join(traceback.format_exception(caught.value))
    assert told.count("it broke") == 1
    assert told.count("the reason") == 1
