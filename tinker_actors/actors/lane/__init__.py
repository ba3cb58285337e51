"""The lane: a polling worker, what it carries, and how that gets accepted, polled for, cancelled."""
