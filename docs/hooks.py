"""The generated pages of the documentation site.

These are a page for each diagnostic code, from `recoverdsl/language/diagnostics/pages`, a page for each spec in `specs/`,
and the files of the repository that pages link to. Links such as `../specs/ioi.rec`, which are right in the
repository, are rewritten to point to them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from recoverdsl.language.diagnostics import explanations as explain
from recoverdsl.language.diagnostics.codes import CODES

GROUPS = {
    "REC1": "Syntax",
    "REC2": "Names",
    "REC3": "Values",
    "REC4": "Meaning",
}
"""The title of each group of codes, by the beginning of the code."""

_LINK = re.compile(r"(\]\()(\.\./[^)\s#]+)((?:#[^)\s]*)?\))")
_INFO = re.compile(r"^( *```\w+) [^\n]*$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the generated pages in the navigation."""
    errors: list[Any] = ["errors/index.md"]
    for beginning, title in GROUPS.items():
        codes = [code for code in CODES if code.startswith(beginning)]
        errors.append({title: [{f"{c}: {CODES[c].title}": f"errors/{c}.md"} for c in codes]})
    specs = [{spec.name: f"specs/{spec.stem}.md"} for spec in _specs(config)]
    for section in config.nav or []:
        if "Errors" in section:
            section["Errors"] = errors
        for inner in section.get("Audits", []):
            if "Specs" in inner:
                inner["Specs"] = specs
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and the files outside the documentation that pages link to."""
    files.append(_generated(config, "errors/index.md", _errors()))
    for page in explain.pages():
        files.append(_generated(config, f"errors/{page.code}.md", page.markdown))
    for spec in _specs(config):
        text = f"---\nhide: [toc]\n---\n# {spec.name}\n\n```rec\n{spec.read_text('utf-8')}```\n"
        files.append(_generated(config, f"specs/{spec.stem}.md", text))
    for name in sorted(
        {name for file in list(files.documentation_pages()) for name in _outside(file, config)}
    ):
        place = _root(config) / name
        if place.is_file() and place.suffix != ".rec":
            files.append(File.generated(config, f"files/{name}", abs_src_path=str(place)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links out of the folder to the added files, and reduce info strings to the language."""

    def rewritten(match: re.Match[str]) -> str:
        name = _in_repository(page.file, match[2])
        if name is None:
            return match[0]
        at = posixpath.relpath(_place(name), posixpath.dirname(page.file.src_uri) or ".")
        return f"{match[1]}{at}{match[3]}"

    return _INFO.sub(r"\1", _LINK.sub(rewritten, markdown))


def _errors() -> str:
    parts = [
        "# Errors\n\nEvery mistake that `recoverdsl check` finds has a code, which never changes. "
        "`recoverdsl explain REC101` prints the same pages in a terminal. A spec with warnings can still be run.\n"
    ]
    for beginning, title in GROUPS.items():
        parts.append(f"\n## {title}\n\n| code | mistake | meaning |\n|:--|:--|:--|\n")
        for page in explain.pages():
            if page.code.startswith(beginning):
                warning = " (a warning)" if page.severity == "warning" else ""
                first = page.meaning.partition(". ")[0].removesuffix(".").replace("|", r"\|")
                parts.append(
                    f"| [{page.code}]({page.code}.md) | {page.title}{warning} | {first}. |\n"
                )
    return "".join(parts)


def _specs(config: MkDocsConfig) -> list[Path]:
    return sorted((_root(config) / "specs").glob("*.rec"))


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent


def _generated(config: MkDocsConfig, uri: str, text: str) -> File:
    return File.generated(config, uri, content=text)


def _outside(file: File, config: MkDocsConfig) -> Iterator[str]:
    for match in _LINK.finditer(file.content_string):
        if name := _in_repository(file, match[2]):
            yield name


def _in_repository(file: File, link: str) -> str | None:
    """Return the path in the repository that a link leads to, if it is outside the documentation."""
    at = posixpath.normpath(posixpath.join("docs", posixpath.dirname(file.src_uri), link))
    return None if at.startswith(("docs/", "..")) else at


def _place(name: str) -> str:
    """Return the place of a file of the repository on the site."""
    spec = re.fullmatch(r"specs/(\w+)\.rec", name)
    return f"specs/{spec[1]}.md" if spec else f"files/{name}"
