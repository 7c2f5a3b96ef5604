"""evercgm: connects continuous glucose monitors and never loses a reading."""
