"""One audit, from a checked spec to its result and the files of its run folder."""
