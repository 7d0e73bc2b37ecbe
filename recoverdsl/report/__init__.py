"""The report of a result: HTML, Markdown and terminal. It reads records and a table, never a model."""
