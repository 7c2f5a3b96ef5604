"""The background door: one job, one action."""
