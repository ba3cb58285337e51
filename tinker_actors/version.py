"""The version: the one place where it is written; packaging reads it from here."""

from __future__ import annotations

VERSION = "0.1.0"
