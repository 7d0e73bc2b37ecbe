"""The model: its family, its forward pass, and the judge of what it writes."""
