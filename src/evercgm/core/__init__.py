"""The nouns of the field, pure: no I/O, no clock, no settings."""
