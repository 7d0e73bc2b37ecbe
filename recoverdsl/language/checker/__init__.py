"""The checker: syntax tree → checked spec, with every mistake reported."""
