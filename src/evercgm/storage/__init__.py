"""PostgreSQL: what is stored, by whom it may be seen, and the server we start ourselves."""
