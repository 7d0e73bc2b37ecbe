"""The formatter: syntax tree → text in the canonical layout."""
