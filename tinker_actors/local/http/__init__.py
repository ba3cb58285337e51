"""HTTP: the core as a starlette application, with a door and an intake before it."""
