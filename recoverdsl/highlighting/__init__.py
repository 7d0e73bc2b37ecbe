"""Highlighting of `.rec` texts: the role of every stretch, for Pygments and VS Code."""
