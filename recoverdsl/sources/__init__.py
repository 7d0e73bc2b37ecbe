"""From where a spec says a thing comes from to a local path. Nothing that is fetched is ever run.

One file for each kind of place: `wheels.py`, `hub.py`, `releases.py`, `local.py`.
"""

from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.hub import DATA, Kind

__all__ = ["DATA", "Fetcher", "Kind"]
