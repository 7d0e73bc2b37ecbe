"""An editor's own client talks to `recoverdsl lsp` in a process, over its standard input and output."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from attrs import evolve
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient

from recoverdsl.language import format_text
from tests.language.texts import SMALL
from tests.server.places import SPECS

URI = "file:///somewhere/spec.rec"
TEXT = types.TextDocumentIdentifier(URI)

ABLE = types.ClientCapabilities(
    text_document=types.TextDocumentClientCapabilities(
        completion=types.CompletionClientCapabilities(
            completion_item=types.ClientCompletionItemOptions(snippet_support=True)
        ),
        rename=types.RenameClientCapabilities(prepare_support=True),
        publish_diagnostics=types.PublishDiagnosticsClientCapabilities(related_information=True),
    )
)
"""The capabilities that a full-featured editor declares."""


class Editor(LanguageClient):
    """A client with one file open."""

    def __init__(self) -> None:
        super().__init__("test", "1")
        self.shown: asyncio.Queue[types.PublishDiagnosticsParams] = asyncio.Queue()
        self.version = 0
        self.text = ""

        @self.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def show(params: types.PublishDiagnosticsParams) -> None:
            self.shown.put_nowait(params)

    def open(self, text: str) -> None:
        self.version, self.text = 1, text
        self.text_document_did_open(
            types.DidOpenTextDocumentParams(types.TextDocumentItem(URI, "rec", 1, text))
        )

    def type(self, text: str) -> None:
        self.version, self.text = self.version + 1, text
        change = types.TextDocumentContentChangeWholeDocument(text)
        where = types.VersionedTextDocumentIdentifier(self.version, URI)
        self.text_document_did_change(types.DidChangeTextDocumentParams(where, [change]))

    async def diagnostics(self) -> types.PublishDiagnosticsParams:
        """Wait for the next diagnostics."""
        return await asyncio.wait_for(self.shown.get(), 20)

    def at(self, word: str, further: int = 1) -> types.Position:
        """Return a position inside the first occurrence of an ASCII word."""
        offset = self.text.index(word) + further
        before = self.text[:offset]
        return types.Position(before.count("\n"), offset - before.rfind("\n") - 1)


@asynccontextmanager
async def editing(able: types.ClientCapabilities = ABLE) -> AsyncIterator[Editor]:
    """Open a session with the server, which has to end without an error."""
    editor = Editor()
    await editor.start_io(sys.executable, "-m", "recoverdsl.cli", "lsp", "--stdio")
    process = editor._server
    assert process
    assert process.stderr
    await editor.initialize_async(types.InitializeParams(capabilities=able))
    editor.initialized(types.InitializedParams())
    yield editor
    await editor.shutdown_async(None)
    editor.exit(None)
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert await process.stderr.read() == b""


def session(
    what: Callable[[Editor], Coroutine[Any, Any, None]], able: types.ClientCapabilities = ABLE
) -> None:
    async def run() -> None:
        async with editing(able) as editor:
            await what(editor)

    asyncio.run(run())


def test_capabilities_are_announced() -> None:
    async def run() -> None:
        editor = Editor()
        await editor.start_io(sys.executable, "-m", "recoverdsl.cli", "lsp")
        wanted = types.GeneralClientCapabilities(
            position_encodings=[types.PositionEncodingKind.Utf8]
        )
        able = evolve(ABLE, general=wanted)
        answer = await editor.initialize_async(types.InitializeParams(capabilities=able))
        can = answer.capabilities
        assert answer.server_info
        assert answer.server_info.name == "recoverdsl"
        assert can.position_encoding == types.PositionEncodingKind.Utf8
        assert can.completion_provider
        assert isinstance(can.rename_provider, types.RenameOptions)
        assert can.rename_provider.prepare_provider
        for ability in ("hover", "definition", "references", "document_highlight", "document_symbol",
                        "document_formatting", "folding_range", "code_action"):  # fmt: skip
            assert getattr(can, f"{ability}_provider"), ability
        editor.open('recoverdsl 1\naudit "é😀模型" oops\n')
        (found,) = (await editor.diagnostics()).diagnostics
        assert found.range.start == types.Position(1, 21)
        await editor.shutdown_async(None)
        editor.exit(None)

    asyncio.run(run())


@pytest.mark.parametrize("name", ["ioi", "refusal"])
def test_every_ability_on_a_shipped_spec(name: str) -> None:
    async def what(editor: Editor) -> None:
        editor.open(SPECS[name])
        first = await editor.diagnostics()
        assert (first.uri, first.version, first.diagnostics) == (URI, 1, ())

        where = editor.at("smollm2.layers")
        said = await editor.text_document_hover_async(types.HoverParams(TEXT, where))
        assert said
        assert "```rec\nmodel smollm2\n```" in said.contents.value  # type: ignore[union-attr]

        found = await editor.text_document_definition_async(types.DefinitionParams(TEXT, where))
        assert [one.range.start.character for one in found] == [6]  # type: ignore[union-attr]
        every = types.ReferenceContext(include_declaration=True)
        places = await editor.text_document_references_async(
            types.ReferenceParams(every, TEXT, where)
        )
        assert places
        assert len(places) == 1 + SPECS[name].count("smollm2.layers")
        marked = await editor.text_document_document_highlight_async(
            types.DocumentHighlightParams(TEXT, where)
        )
        assert [one.range for one in marked or ()] == [one.range for one in places]

        ready = await editor.text_document_prepare_rename_async(
            types.PrepareRenameParams(TEXT, where)
        )
        assert ready.placeholder == "smollm2"  # type: ignore[union-attr]
        renamed = await editor.text_document_rename_async(types.RenameParams(TEXT, where, "small"))
        assert renamed
        assert renamed.changes
        assert {edit.new_text for edit in renamed.changes[URI]} == {"small"}
        with pytest.raises(JsonRpcException, match="expected a name, found `at`") as refused:
            await editor.text_document_rename_async(types.RenameParams(TEXT, where, "at"))
        assert refused.value.code == types.LSPErrorCodes.RequestFailed

        outline = await editor.text_document_document_symbol_async(types.DocumentSymbolParams(TEXT))
        assert "smollm2" in [one.name for one in outline or ()]
        folded = await editor.text_document_folding_range_async(types.FoldingRangeParams(TEXT))
        assert len(folded or ()) >= SPECS[name].count("\n}")
        layout = types.DocumentFormattingParams(TEXT, types.FormattingOptions(2, True))
        editor.type(SPECS[name].replace("  from", "      from"))
        (edit,) = await editor.text_document_formatting_async(layout) or ()
        assert edit.new_text == format_text(SPECS[name])

    session(what)


def test_completion_in_what_is_half_typed() -> None:
    async def what(editor: Editor) -> None:
        editor.open(SMALL)
        for typed, offered in [
            ("attack b like go {\n  pre", "preserve"),
            ("attack b like go {\n  preserve = orthogonal(", "kept"),
            ('sae s {\n  from = release("gpt2-small-res', "gpt2-small-res-jb"),
        ]:
            editor.type(SMALL + typed)
            where = editor.at(typed, len(typed))
            found = await editor.text_document_completion_async(types.CompletionParams(TEXT, where))
            assert isinstance(found, types.CompletionList)
            assert offered in [one.label for one in found.items]
            assert all(one.text_edit for one in found.items)

    session(what)


def test_mistakes_appear_as_one_types_and_go_as_the_file_is_closed() -> None:
    async def what(editor: Editor) -> None:
        editor.open(SMALL)
        assert not (await editor.diagnostics()).diagnostics
        for end in range(1, 30):
            editor.type(SMALL + "attack go { perturb = mid at x }"[:end])
        editor.type(SMALL + "attack go { maximize = says }\n")
        shown = await editor.diagnostics()
        while shown.version != 31:
            shown = await editor.diagnostics()
        (first, *_) = shown.diagnostics
        assert first.code == "REC207"
        assert first.severity == types.DiagnosticSeverity.Error
        (related,) = first.related_information or ()
        assert related.location.uri == URI
        assert related.location.range.start.line == 7
        editor.text_document_did_close(types.DidCloseTextDocumentParams(TEXT))
        assert not (await editor.diagnostics()).diagnostics

    session(what)


def test_a_change_that_is_not_shown_yet_is_forgotten_as_the_file_is_closed() -> None:
    async def what(editor: Editor) -> None:
        editor.open(SMALL)
        await editor.diagnostics()
        editor.type(SMALL + "x")
        editor.text_document_did_close(types.DidCloseTextDocumentParams(TEXT))
        assert not (await editor.diagnostics()).diagnostics
        await asyncio.sleep(0.2)
        assert editor.shown.empty()

    session(what)


def test_a_mistake_is_fixed() -> None:
    async def what(editor: Editor) -> None:
        editor.open(SMALL + "expect drit(go) <= 5%\n")
        (found,) = (await editor.diagnostics()).diagnostics
        context = types.CodeActionContext([found])
        asked = types.CodeActionParams(TEXT, found.range, context)
        (action,) = await editor.text_document_code_action_async(asked) or ()
        assert isinstance(action, types.CodeAction)
        assert action.diagnostics == (found,)
        assert action.edit
        assert action.edit.changes == {URI: (types.TextEdit(found.range, "drift"),)}

    session(what)


def test_a_file_that_is_not_open_is_an_empty_one() -> None:
    async def what(editor: Editor) -> None:
        where = types.Position(3, 3)
        assert not await editor.text_document_hover_async(types.HoverParams(TEXT, where))
        assert not await editor.text_document_definition_async(types.DefinitionParams(TEXT, where))

    session(what)


def test_an_editor_that_can_do_little() -> None:
    async def what(editor: Editor) -> None:
        editor.open(SMALL + "attack go { maximize = says }\n")
        (found, *_) = (await editor.diagnostics()).diagnostics
        assert found.related_information is None
        assert "line 8" in found.message
        editor.type(SMALL + "attack b { preserve = ")
        where = editor.at("preserve = ", 11)
        offered = await editor.text_document_completion_async(types.CompletionParams(TEXT, where))
        assert isinstance(offered, types.CompletionList)
        assert {one.insert_text_format for one in offered.items} == {
            types.InsertTextFormat.PlainText
        }

    session(what, types.ClientCapabilities())


@pytest.mark.parametrize("missing", ["pygls", "lsprotocol"])
def test_without_the_extra_it_says_how_to_install_it(missing: str) -> None:
    code = f"import sys; sys.modules['{missing}'] = None; from recoverdsl.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "lsp"], capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == (
        "error: the language server is not installed: pip install 'recoverdsl[lsp]'\n"
    )
