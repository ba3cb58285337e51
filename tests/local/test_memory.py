"""Memory: what limits on a process, the kernel's and a container's, leave of the machine's."""

from __future__ import annotations

import os
import subprocess
import sys

from tinker_actors.local import memory

PROGRAM = "from tinker_actors.local.memory import usable_memory; print(usable_memory())"


def test_the_lowest_limit_holds(tmp_path, monkeypatch):
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_CONTROL_GROUPS", (str(tmp_path / "none"), str(group)))
    for said, found in (("max\n", machine), (f"{2**20}\n", 2**20), (f"{2**62}\n", machine)):
        group.write_text(said)
        assert memory.usable_memory() <= found
        assert (memory.usable_memory() == 2**20) is (found == 2**20)


def test_a_limit_on_the_process_holds():
    limited = ["sh", "-c", 'ulimit -v 2097152; exec "$@"', "sh", sys.executable, "-c", PROGRAM]
    done = subprocess.run(limited, check=True, capture_output=True, text=True, timeout=60)
    assert int(done.stdout) <= 2**31
