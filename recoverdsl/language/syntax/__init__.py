"""The syntax: grammar, tree, and expressions as text."""
