"""Access: who may call, as whom, and from where."""
