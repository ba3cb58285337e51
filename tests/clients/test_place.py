"""Places are outside this package, however it was found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tinker_actors

PROGRAM = """
import os
from tinker_actors.clients import place
inside = os.path.join(os.path.dirname(place.__file__), "inside.py")
exec(compile("def ask(): return place.callers_place()", inside, "exec"))
print(ask())
"""


def test_a_package_behind_a_link_is_still_no_place_of_the_users(tmp_path):
    (tmp_path / "tinker_actors").symlink_to(Path(tinker_actors.__file__).parent)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "<string>:7"
