"""The terminal door: one file a command group."""
