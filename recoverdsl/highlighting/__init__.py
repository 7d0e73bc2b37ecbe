"""What every stretch of a `.rec` text is, for whatever colors it: Pygments, VS Code."""
