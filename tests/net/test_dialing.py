"""Dialing: each way loads what it needs, when it is first gone."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("scheme", "unused"),
    [("http", {"urllib3", "requests", "asyncio", "email.utils"}), ("https", {"urllib3", "requests", "asyncio"})],
)
def test_what_only_proxies_or_tls_need_is_not_loaded_without_them(scheme, unused):
    program = (
        "import sys, tinker_actors as ta\n"
        f"client = ta.ServiceClient(base_url='{scheme}://127.0.0.1:1', config=ta.Config(creation_timeout=1))\n"
        "try:\n    client.get_server_capabilities()\n"
        f"except ta.TinkerError:\n    print({unused} & set(sys.modules))\n"
        "client.close(timeout=0.01)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "set()"
