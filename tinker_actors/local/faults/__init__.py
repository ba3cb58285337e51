"""Faults: a switchboard that makes the embedded server misbehave on demand.

`rules` says what can be asked for, `deciding` whether a rule strikes a given request (a pure function of seed, rule and
count), `switchboard` keeps the rules and their counts, `levers` reaches into the core, `middleware` and `spoiling` act
on requests and answers, `connection` on the socket. `admin` and `control` are the two ends of the admin endpoint.

Nothing of this is in the way of a request while no rule concerns its endpoint, nor at all in a server that was started
without `--admin` and `--fault`.
"""
