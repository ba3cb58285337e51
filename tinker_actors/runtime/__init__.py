"""Runtime: pykka plumbing and sockets that know nothing of Tinker.

Dispatcher and lanes run actors, futures carry results, a snapshot publishes state to readers, the supervisor
restarts what fails, and the transport moves bytes. What the bytes mean is decided one rank up, in `actors`.
"""
