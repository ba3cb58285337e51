"""Protobuf: the dialect in which big arrays cross the wire as they lie in memory.

`requests` writes what a client sends and `results` reads what it gets; `serving` is the server's side of both.
Nothing here loads `google.protobuf` before a message is read or a result written.
"""
