"""Connection: the socket under a request, for faults that no HTTP answer can show.

uvicorn gives applications no way to break a connection. A protocol of our own puts one into each request's scope, as
an ASGI extension.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tinker_actors.local.http.heads import HeadProtocol

EXTENSION = "tinker_actors.connection"
"""The extension's name in a scope."""

# With a linger time of zero, closing throws away what was not sent and answers the peer with RST (socket(7), tcp(7)).
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Connection:
    """The connection that a request came on. For the event loop's thread.

    Args:
        protocol: uvicorn's end of it.
    """

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._protocol = protocol

    async def drain(self) -> None:
        """Wait until everything that was written has been given to the kernel."""
        # With limits of zero, "writing may go on" means that the buffer is empty.
        self._protocol.transport.set_write_buffer_limits(0)
        await self._protocol.flow.drain()

    def reset(self) -> None:
        """Reset the connection: the peer sees RST."""
        transport = self._protocol.transport
        sock = transport.get_extra_info("socket")
        if not transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()

    def close(self) -> None:
        """Close the connection properly: the peer sees its end."""
        self._protocol.transport.close()


class ConnectionProtocol(HeadProtocol):
    """The server's protocol, with each request's connection in its scope."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        extensions: dict[str, Any] = {EXTENSION: Connection(self)}
        self.scope["extensions"] = extensions
