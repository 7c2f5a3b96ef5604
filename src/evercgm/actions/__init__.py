"""Verbs: the only place that speaks both to vendors and to PostgreSQL."""
