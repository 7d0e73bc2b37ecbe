"""Recovery: a text that does not follow the grammar, read as far as it can be."""
