"""A file that imports others, in an editor."""

from __future__ import annotations

from pathlib import Path

import pytest
from pygls.uris import from_fs_path

from recoverdsl.errors import UsageError
from recoverdsl.server.actions import actions
from recoverdsl.server.completion import complete
from recoverdsl.server.diagnostics import diagnose
from recoverdsl.server.document import Document
from recoverdsl.server.hover import hover
from recoverdsl.server.navigation import definitions, references
from recoverdsl.server.rename import rename
from recoverdsl.server.server import build
from tests.language.texts import IOI

SHARED = IOI[: IOI.index("attack unconstrained")]
OWN = f'recoverdsl 1\nimport "shared.rec"\n\n{IOI[IOI.index("attack unconstrained") :]}'


@pytest.fixture
def document(tmp_path: Path) -> Document:
    (tmp_path / "shared.rec").write_text(SHARED)
    (tmp_path / "own.rec").write_text(OWN)
    return Document(OWN, from_fs_path(str(tmp_path / "own.rec")) or "")


def test_a_definition_is_found_in_the_other_file(document: Document, tmp_path: Path) -> None:
    (found,) = definitions(document, OWN.index("mid at last_token"))
    assert found.uri == from_fs_path(str(tmp_path / "shared.rec"))
    line = SHARED.split("\n")[found.range.start.line]
    assert line[found.range.start.character : found.range.end.character] == "mid"
    assert {r.uri for r in references(document, OWN.index("mid at last_token"))} == {
        found.uri,
        document.uri,
    }


def test_hover_shows_what_is_written_there(document: Document) -> None:
    said = hover(document, OWN.index("mid at last_token"))
    assert said is not None
    assert "sae mid" in str(said.contents)
    assert "In shared.rec, line" in str(said.contents)


def test_an_import_leads_to_its_file_and_its_names(tmp_path: Path) -> None:
    (tmp_path / "shared.rec").write_text(SHARED)
    text = OWN.replace('import "shared.rec"', 'import mid, clamp, smollm2 from "shared.rec"')
    document = Document(text, from_fs_path(str(tmp_path / "own.rec")) or "")
    (found,) = definitions(document, text.index("shared.rec") + 3)
    assert found.uri == from_fs_path(str(tmp_path / "shared.rec"))
    (found,) = definitions(document, text.index("clamp,") + 1)
    assert SHARED.split("\n")[found.range.start.line].startswith("intervene clamp")
    said = hover(document, text.index("clamp,") + 1)
    assert said is not None
    assert "intervene clamp" in str(said.contents)


def test_imported_names_are_offered(document: Document) -> None:
    text = OWN + "attack more { perturb = "
    labels = {item.label for item in complete(Document(text, document.uri), len(text)).items}
    assert "mid" in labels


def test_a_name_of_another_file_is_not_renamed_here(document: Document) -> None:
    with pytest.raises(UsageError, match=r"imported from shared\.rec"):
        rename(document, OWN.index("mid at last_token"), "middle")
    own = rename(document, OWN.index("attack unconstrained") + 8, "free")
    assert len(own) == OWN.count("unconstrained")


def test_a_mistake_there_is_told_where_it_is_imported(document: Document, tmp_path: Path) -> None:
    assert diagnose(document) == []
    (tmp_path / "shared.rec").write_text(SHARED.replace("holds = score > 0", "holds = scor > 0"))
    (found, *_) = diagnose(Document(OWN, document.uri))
    assert found.range.start.line == 1
    assert found.message.startswith("shared.rec, line ")


def test_what_is_wrong_there_is_not_mended_here(tmp_path: Path) -> None:
    (tmp_path / "shared.rec").write_text(SHARED.replace("holds = score", "holds = = score"))
    document = Document(OWN, from_fs_path(str(tmp_path / "own.rec")) or "")
    assert document.checked.errors
    assert actions(document, document.lines.range(0, len(OWN))) == []


def test_what_is_open_goes_before_what_is_on_the_disk(document: Document, tmp_path: Path) -> None:
    server = build()
    shared = from_fs_path(str(tmp_path / "shared.rec")) or ""
    own = Document(OWN, document.uri, read=server._beside(document.uri))
    server.documents = {
        document.uri: own,
        shared: Document(SHARED.replace("sae mid", "sae middle"), shared),
    }
    assert own.checked.spec is None
    # Editors write one path in several ways.
    other = shared.replace("shared", "%73hared")
    server.documents = {other: Document(SHARED.replace("sae mid", "sae middle"), other)}
    assert Document(OWN, document.uri, read=server._beside(document.uri)).checked.spec is None
    assert server._beside("untitled:1") is None
