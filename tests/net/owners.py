"""Owners of sockets in a selector inbox, for tests."""

from __future__ import annotations

import threading


class Owner:
    """Records what a registered socket's owner is told."""

    def __init__(self, sock, on_ready=None):
        self.sock = sock
        self.events = []
        self.errors = []
        self.lost = threading.Event()
        self.ready = threading.Event()
        self._on_ready = on_ready or (lambda: sock.recv(100))

    def on_ready(self, events):
        self.events.append(events)
        self.ready.set()
        self._on_ready()

    def on_lost(self, error):
        self.errors.append(error)
        self.lost.set()
