"""Caller: for whom the core is at work.

What an owner may not know of is looked up like everything else and then not found: one place per kind of thing asks
here, and answers 404 as it would for what never was.
"""

from __future__ import annotations

LOCAL_OWNER = "local"
"""Whose everything is on a server without keys."""


class Caller:
    """Whose request is being handled.

    Attributes:
        owner: the owner; None for the server itself, between requests, which sees everything.
        sponsor: another owner whose checkpoints the request may read, by that owner's key sent along; or None.
    """

    def __init__(self) -> None:
        self.owner: str | None = None
        self.sponsor: str | None = None

    @property
    def name(self) -> str:
        """Whose what is made now will be."""
        return LOCAL_OWNER if self.owner is None else self.owner

    def owns(self, owner: str) -> bool:
        """Return whether something of an owner's may be used and changed."""
        return self.owner is None or self.owner == owner

    def reads(self, owner: str, *, public: bool) -> bool:
        """Return whether a checkpoint of an owner's may be read."""
        return public or self.owns(owner) or self.sponsor == owner

    def readers(self) -> frozenset[str] | None:
        """Return whose checkpoints may be read besides public ones, for later; None for everybody's."""
        if self.owner is None:
            return None
        return frozenset({self.owner, *([self.sponsor] if self.sponsor else [])})
