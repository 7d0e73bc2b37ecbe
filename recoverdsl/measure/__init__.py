"""Figures, intervals and results: pure functions of tensors and tables."""
