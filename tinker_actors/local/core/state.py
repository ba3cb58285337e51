"""State: everything the core knows, in one place that all handlers are given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tinker_actors.local.core import ids
from tinker_actors.local.core.access.authentication import Access
from tinker_actors.local.core.access.caller import Caller
from tinker_actors.local.core.catalog import Catalog
from tinker_actors.local.core.futures import FutureTable
from tinker_actors.local.core.keeping import Store
from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.models.model import Model
from tinker_actors.local.core.models.turns import Turns
from tinker_actors.local.core.ports import BaseModelInfo, Engine
from tinker_actors.local.core.requests.messages import RefusedError
from tinker_actors.local.core.rest.audit import Audit
from tinker_actors.local.core.rest.usage import Usage
from tinker_actors.local.core.samples.batches import SampleQueue
from tinker_actors.local.core.samples.samplers import GIVEN_UP, Sampler, Samplers, Weights, WeightsRef
from tinker_actors.local.core.sessions import Sessions


class CoreState:
    """What lives in the server. Used by one thread only.

    Attributes:
        engine: computes.
        store: keeps what outlives the process.
        limits: bounds.
        new_id: returns a new random id.
        sessions: living and gone.
        futures: pending and decided.
        models: by id.
        turns: which model's operation is next.
        sample_queue: samples that wait or are being drawn.
        samplers: by id.
        weights: what samplers sample from.
        steps_applied: optimizer steps, of all models.
        access: the keys.
        caller: for whom the core is at work.
        catalog: what is remembered, as the caller may see it.
        audit: what was done to checkpoints.
        usage: how many tokens went where.
        telemetry: events that clients reported, by their kind.
        now: the time that the core was last told.
        ticked: when it last looked at what is over; None before it did.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        limits: Limits,
        new_id: Callable[[], str],
        access: Access,
        epoch: float,
    ) -> None:
        self.access = access
        self.caller = Caller()
        self.catalog = Catalog(store, self.caller, limits)
        self.audit = Audit()
        self.usage = Usage()
        self.telemetry: Counter[str] = Counter()
        self.now = 0.0
        self.ticked: float | None = None
        self._epoch = epoch
        self.engine = engine
        self.store = store
        self.limits = limits
        self.new_id = new_id
        self.sessions = Sessions(self.catalog)
        self.futures = FutureTable(limits, new_id, self.caller, store)
        self.models: dict[str, Model] = {}
        self.turns = Turns()
        self.sample_queue = SampleQueue(limits)
        self.samplers = Samplers(limits, self.sample_queue.is_busy)
        self.weights = Weights(engine, store, limits.checkpoint_bytes)
        self.steps_applied = 0

    @property
    def wall(self) -> float:
        """The time, in seconds since 1970."""
        return self._epoch + self.now

    def base_model(self, name: str) -> BaseModelInfo:
        """Return what is known about a base model.

        Raises:
            RefusedError: 400, there is none of this name; the detail lists those there are.
        """
        info = self.engine.base_models.get(name)
        if info is None:
            known = ", ".join(sorted(self.engine.base_models))
            raise RefusedError(400, f"There is no base model {name[:200]!r}. This server has: {known}.")
        return info

    def model(self, model_id: str) -> Model:
        """Return a model.

        Raises:
            RefusedError: 410 if it or its session is gone, 404 if it never was.
        """
        model = self.models.get(model_id)
        if model is None or not self.catalog.may_see(model_id):
            raise self._missing("model", model_id)
        self.catalog.touch_run(model_id, self.wall)
        return model

    def sampler(self, sampler_id: str) -> Sampler:
        """Return a sampler.

        Raises:
            RefusedError: 410 if it was given up or its session is gone, 404 if it never was.
        """
        sampler = self.samplers.get(sampler_id) if self.catalog.may_see(sampler_id) else None
        if sampler is None:
            raise self._missing("sampler", sampler_id)
        return sampler

    def add_sampler(self, session_id: str, number: int, weights: WeightsRef, owner: str) -> str:
        """Add a sampler and return its id. What its owner has too many with it is given up."""
        sampler_id = ids.sampler_id(session_id, number)
        for old in self.samplers.add(Sampler(sampler_id, session_id, owner, weights)):
            self._give_up(old)
        self.catalog.add_sampler(sampler_id)
        return sampler_id

    def _give_up(self, sampler: Sampler) -> None:
        session = self.sessions.get(sampler.session_id)
        session.sampler_numbers.retire(ids.number_of(sampler.sampler_id))
        self.catalog.forget_sampler(sampler.sampler_id)
        if sampler.own_bytes:
            for sample in self.sample_queue.samples_of(sampler.weights):
                self.futures.lose(sample.future, f"Sampler {sampler.sampler_id} {GIVEN_UP}")
            self.weights.give_up(sampler.weights)

    def _missing(self, what: str, any_id: str) -> RefusedError:
        session_id = ids.session_of(any_id)
        if self.sessions.is_gone(session_id):
            self.sessions.get(session_id)
        number = any_id.rpartition(":")[2][:18]
        if number.isdecimal() and any_id == ids.model_id(session_id, int(number)):
            if self.sessions.get(session_id).model_numbers.is_retired(int(number)):
                return RefusedError(410, f"Model {any_id} has been unloaded.")
        elif number.isdecimal() and any_id == ids.sampler_id(session_id, int(number)):  # noqa: SIM102 - a pair
            if self.sessions.get(session_id).sampler_numbers.is_retired(int(number)):
                return RefusedError(410, f"Sampler {any_id} {GIVEN_UP}")
        return RefusedError(404, f"There is no {what} {any_id[:200]!r}.")
