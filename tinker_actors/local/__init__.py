"""The embedded server: a Tinker server for development and tests, in a process of its own.

`core` holds its rules, `engine` its arithmetic, `store` its checkpoints, `app` and `serving` its HTTP side, and
`process` starts it as a child. Nothing is imported here, so that starting a child loads neither numpy nor HTTP.
"""
