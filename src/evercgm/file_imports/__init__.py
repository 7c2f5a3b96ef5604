"""Files that people export at vendors, into readings: one pure parser a format. No login, no database, no network."""
