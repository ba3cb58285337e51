"""Dialect: in which of the two the training data are sent, found out once per server (wire protocol 4.1).

    Config.dialect is given ----------------------------------->  that one, for good
    nothing is known yet -------------------------------------->  protobuf, which can be read back into JSON
    client/config answers ------------------------------------->  protobuf
    client/config is 404: a server of the JSON era ------------>  json
    a request in it is accepted ------------------------------->  proven
    a request gets a 415 -------------------------------------->  the other one; resent under the same number
    a request gets a 400, 422 or 500 before any was accepted -->  a probe decides

A probe is one example without effect (a `forward` over one token), sent under the number of the refused request, first
in the dialect of that request. If it is accepted, the dialect is right and the data are wrong. If not, it is sent in
the other one; if it is accepted there, that dialect is kept and the data are sent again. If both are refused, the
refusal of the data stands.
"""

from __future__ import annotations

from typing import Literal

Dialect = Literal["json", "protobuf"]
Remedy = Literal["fail", "resend", "probe"]

OTHER: dict[Dialect, Dialect] = {"json": "protobuf", "protobuf": "json"}

_UNSUPPORTED_MEDIA_TYPE = 415
_MAY_BE_THE_DIALECT = frozenset({400, 422, 500})


def resends(taken_in: Dialect | None, refused_in: Dialect, *, in_part: bool) -> bool:
    """Return whether refused data are sent again in the dialect in which a probe was taken; else they are wrong.

    Args:
        taken_in: that dialect, or None if the probe was refused in both.
        refused_in: what the data were in.
        in_part: some of the operation's data were accepted, so that it can't begin anew.
    """
    return taken_in not in (None, refused_in) and not in_part


class DialectChoice:
    """What is known about one server. Changed on the dispatcher's thread only; reading is safe from anywhere.

    Args:
        given: the user's decision, or None to find out.

    Attributes:
        dialect: what to encode in now.
        proven: a request in it was accepted.
        fixed: it is the user's decision and never changes.
    """

    __slots__ = ("_presumed", "dialect", "fixed", "proven")

    def __init__(self, given: Dialect | None = None) -> None:
        self.fixed = given is not None
        self.dialect: Dialect = given or "protobuf"
        self.proven = False
        self._presumed = self.fixed

    def presume(self, *, config_answered: bool) -> None:
        """Note what became of `client/config`. Only the first time counts."""
        if not self._presumed:
            self._presumed = True
            self.dialect = "protobuf" if config_answered else "json"

    def accepted(self, dialect: Dialect) -> None:
        """Note that the server accepted a request in `dialect`."""
        if dialect == self.dialect:
            self._presumed = self.proven = True

    def turn_to(self, dialect: Dialect, *, proven: bool = False) -> None:
        """Speak this one from now on."""
        if dialect != self.dialect:
            self.dialect, self.proven, self._presumed = dialect, False, True
        self.proven = self.proven or proven

    def doubts(self, dialect: Dialect) -> bool:
        """Return whether a refusal of a request in `dialect` may be one of the dialect."""
        return not self.fixed and not (self.proven and dialect == self.dialect)

    def in_place(self) -> list[Dialect]:
        """Return the dialects in which to offer something in the place of a refused request, the likelier one first."""
        return [self.dialect] if self.fixed else [self.dialect, OTHER[self.dialect]]

    def remedy(self, dialect: Dialect, status: int | None) -> Remedy:
        """Return what to do about a refused request.

        Args:
            dialect: what it was in.
            status: the HTTP status it got, or None when it failed in another way.
        """
        if self.fixed:
            return "fail"
        if status == _UNSUPPORTED_MEDIA_TYPE:
            return "resend"
        return "probe" if status in _MAY_BE_THE_DIALECT and self.doubts(dialect) else "fail"
