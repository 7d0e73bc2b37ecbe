"""The behavior: objectives, generated text, and the features that carry it."""
