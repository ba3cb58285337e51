"""What is measured runs under the same conditions as what it is compared with."""

from __future__ import annotations

import sys

from benchmarks.processes import run_program


def test_byte_code_is_written_whatever_the_caller_does(monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    told = run_program([sys.executable, "-c", "import sys; print('{\"off\":', int(sys.dont_write_bytecode), '}')"])
    assert told["off"] == 0
