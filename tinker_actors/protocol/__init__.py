"""Protocol: the rules, without clock, thread or socket.

How operations are validated, cut and encoded; what a reply means; when to try again; what may be sent next. Actors
apply these rules one rank up.
"""
