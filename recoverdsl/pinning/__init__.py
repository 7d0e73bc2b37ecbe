"""Locks: the content of a spec's sources when it was signed, in a file beside it.

`sources.py` lists the sources of a spec, `current_lock.py` makes the lock that it would have now,
`lock.py` and `lockfile.py` hold a lock and write it to its file, `differences.py` compares two. None
of them imports torch.
"""
