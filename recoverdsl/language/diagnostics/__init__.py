"""Diagnostics: one record per mistake, its codes and their pages, and how they are shown."""

from recoverdsl.language.diagnostics.codes import CODES
from recoverdsl.language.diagnostics.collector import MOST, Collector, TooManyError
from recoverdsl.language.diagnostics.diagnostic import Diagnostic, Edit, Help, apply_edits, replace
from recoverdsl.language.diagnostics.rendering import as_record, render_json, render_text, visible

__all__ = [
    "CODES", "MOST", "Collector", "Diagnostic", "Edit", "Help", "TooManyError", "apply_edits",
    "as_record", "render_json", "render_text", "replace", "visible",
]  # fmt: skip
