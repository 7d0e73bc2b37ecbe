"""What every stretch of a `.rec` text is, for whatever colours it: Pygments, VS Code."""
