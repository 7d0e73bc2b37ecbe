"""What a result looks like to people. Knows nothing of models: it reads records and a table."""
