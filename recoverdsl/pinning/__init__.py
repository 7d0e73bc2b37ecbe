"""Locks: what the sources of a spec were when it was signed, in a file beside it.

`sources.py` lists what a spec names, `contents.py` says what each is, `lock.py` and `lockfile.py` hold
that and write it down, `differences.py` compares. None of them imports torch.
"""
