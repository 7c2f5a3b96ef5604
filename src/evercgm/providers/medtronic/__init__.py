"""CareLink as a care partner: the record."""
