"""The sources that a spec names: where each lies locally, what pins it, what a lock says of it.

A kind of source is a subclass of `source.Source`, and `registry.SOURCES` finds it by the call that a
spec writes. Nothing that is fetched is ever run.
"""
