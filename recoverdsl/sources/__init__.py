"""The sources of a spec: the local path of each, its pin in digests, and its entry in a lock.

A kind of source is a subclass of `source.Source`, and `registry.SOURCES` finds it by the call that a
spec writes. Nothing that is fetched is ever run.
"""
