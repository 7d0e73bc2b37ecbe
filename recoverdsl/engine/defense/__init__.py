"""The defense: SAEs, the clamp, and the features that it protects."""
