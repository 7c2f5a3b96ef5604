"""The shape of the database: read, compared, verified, and brought to one form by migrations."""
