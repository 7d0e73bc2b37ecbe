"""The server: maps each request of an editor to the function that answers it."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from recoverdsl.errors import RecoverdslError
from recoverdsl.language import Reader, beside, check
from recoverdsl.language.syntax.nodes import Import
from recoverdsl.server.actions import KINDS, actions
from recoverdsl.server.completion import complete
from recoverdsl.server.diagnostics import diagnose
from recoverdsl.server.document import Document
from recoverdsl.server.format import format_document
from recoverdsl.server.hover import hover
from recoverdsl.server.navigation import definitions, highlights, references
from recoverdsl.server.outline import folds, symbols
from recoverdsl.server.rename import prepare, rename
from recoverdsl.version import __version__

PAUSE = 0.05
"""Seconds without a change after which a text is checked, so that typing never waits for it."""

TRIGGERS = (" ", ".", "=", "(", "[", ",", '"')
"""Characters after which an editor asks for completion unprompted."""


class Refused(JsonRpcException):
    """The answer to a request that was refused, with the reason."""

    CODE = types.LSPErrorCodes.RequestFailed.value


class PositionRequest(Protocol):
    """A request about one position in a text."""

    text_document: types.TextDocumentIdentifier
    position: types.Position


class Server(LanguageServer):
    """A language server that holds the texts open in an editor."""

    def __init__(self) -> None:
        # Whole texts: a spec is small, and pygls splits lines at characters that editors do not.
        super().__init__("recoverdsl", __version__, types.TextDocumentSyncKind.Full)
        self.documents: dict[str, Document] = {}
        self.waiting: dict[str, asyncio.TimerHandle] = {}

    def keep(self, uri: str) -> None:
        """Take over the present version of a text from the workspace."""
        given = self.workspace.get_text_document(uri)
        encoding = types.PositionEncodingKind(self.workspace.position_encoding)
        self.documents[uri] = Document(
            given.source, uri, given.version, encoding, self._beside(uri)
        )

    def _beside(self, uri: str) -> Reader | None:
        """Return a reader of the files beside one: the editor's version where open, else the disk's."""
        path = to_fs_path(uri) if uri.startswith("file:") else None
        if path is None:
            return None
        on_disk = beside(Path(path))

        def read(name: str) -> str | bytes | None:
            # One file has several spellings as a URI, so it is found by its path.
            place = Path(path).with_name(name)
            shown = next((d for d in self.documents.values() if d.path == place), None)
            return shown.text if shown else on_disk(name)

        return read

    def importing(self, uri: str) -> list[str]:
        """Return the other open texts with imports, reloaded, since their checks depend on other files."""
        found = [
            other
            for other, document in self.documents.items()
            if other != uri and any(isinstance(s, Import) for s in document.checked.tree.statements)
        ]
        for other in found:
            self.keep(other)
        return found

    def document(self, uri: str) -> Document:
        """Return the present version of a text; an empty one if it is not open."""
        return self.documents.get(uri) or Document("", uri)

    def at(self, where: PositionRequest) -> tuple[Document, int]:
        """Return the text and the offset that a request is about."""
        document = self.document(where.text_document.uri)
        return document, document.lines.offset(where.position)

    def supports(self, path: str) -> Any:
        """Return a capability of the editor, by its path; None if the editor does not declare it."""
        found: Any = self.client_capabilities
        for name in path.split("."):
            found = getattr(found, name, None)
        return found

    def markup(self, path: str) -> types.MarkupKind:
        """Return Markdown, or plain text if the editor supports nothing else."""
        known: Sequence[types.MarkupKind] | None = self.supports(path)
        markdown = known is None or types.MarkupKind.Markdown in known
        return types.MarkupKind.Markdown if markdown else types.MarkupKind.PlainText

    def publish(self, uri: str) -> None:
        """Send the diagnostics of a text now."""
        self.forget(uri)
        document = self.document(uri)
        related = bool(self.supports("text_document.publish_diagnostics.related_information"))
        self.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(
                uri, diagnose(document, related=related), document.version
            )
        )

    def publish_soon(self, uri: str) -> None:
        """Send the diagnostics of a text after a pause in typing."""
        self.forget(uri)
        self.waiting[uri] = asyncio.get_running_loop().call_later(PAUSE, self.publish, uri)

    def forget(self, uri: str) -> None:
        """Cancel the diagnostics that are waiting to be sent."""
        if waiting := self.waiting.pop(uri, None):
            waiting.cancel()


def start() -> None:
    """Serve an editor over standard input and output, until it ends the connection."""
    logger = logging.getLogger("pygls")
    logger.setLevel(logging.ERROR)
    logging.getLogger("pygls.protocol.json_rpc").addFilter(_not_refused)
    # The first check loads the grammar. Everything loaded by now stays, so the garbage collector need
    # not search it while someone types.
    check("")
    gc.freeze()
    build().start_io()


def _not_refused(record: logging.LogRecord) -> bool:
    """Keep refusals out of the log: they are answers, not errors."""
    return not (record.exc_info and isinstance(record.exc_info[1], Refused))


def build() -> Server:
    """Return a server with every feature registered."""
    server = Server()
    _register_synchronization(server)
    _register_views(server)
    _register_edits(server)
    return server


def _register_synchronization(server: Server) -> None:
    """Register the handlers for texts being opened, changed and closed."""

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        server.keep(params.text_document.uri)
        server.publish(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        uri = params.text_document.uri
        server.keep(uri)
        for changed in (uri, *server.importing(uri)):
            server.publish_soon(changed)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        server.forget(uri)
        server.documents.pop(uri, None)
        server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))
        for other in server.importing(uri):
            server.publish_soon(other)


def _register_views(server: Server) -> None:
    """Register the requests that show something of a text."""

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hovered(params: types.HoverParams) -> types.Hover | None:
        return hover(*server.at(params), markup=server.markup("text_document.hover.content_format"))

    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    def defined(params: types.DefinitionParams) -> list[types.Location]:
        return definitions(*server.at(params))

    @server.feature(types.TEXT_DOCUMENT_REFERENCES)
    def referred(params: types.ReferenceParams) -> list[types.Location]:
        return references(*server.at(params), declaration=params.context.include_declaration)

    @server.feature(types.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
    def highlighted(params: types.DocumentHighlightParams) -> list[types.DocumentHighlight]:
        return highlights(*server.at(params))

    @server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def outlined(params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
        return symbols(server.document(params.text_document.uri))

    @server.feature(types.TEXT_DOCUMENT_FOLDING_RANGE)
    def folded(params: types.FoldingRangeParams) -> list[types.FoldingRange]:
        return folds(server.document(params.text_document.uri))


def _register_edits(server: Server) -> None:
    """Register the requests that change a text."""

    @server.feature(
        types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=TRIGGERS)
    )
    def completed(params: types.CompletionParams) -> types.CompletionList:
        item = "text_document.completion.completion_item"
        return complete(
            *server.at(params),
            snippets=bool(server.supports(f"{item}.snippet_support")),
            markup=server.markup(f"{item}.documentation_format"),
        )

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(code_action_kinds=KINDS)
    )
    def fixed(params: types.CodeActionParams) -> list[types.CodeAction]:
        document = server.document(params.text_document.uri)
        return actions(document, params.range, params.context.only)

    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def formatted(params: types.DocumentFormattingParams) -> list[types.TextEdit]:
        return format_document(server.document(params.text_document.uri))

    @server.feature(types.TEXT_DOCUMENT_PREPARE_RENAME)
    def prepared(params: types.PrepareRenameParams) -> types.PrepareRenamePlaceholder | None:
        return prepare(*server.at(params))

    @server.feature(types.TEXT_DOCUMENT_RENAME, types.RenameOptions(prepare_provider=True))
    def renamed(params: types.RenameParams) -> types.WorkspaceEdit:
        try:
            edits = rename(*server.at(params), params.new_name)
        except RecoverdslError as error:
            raise Refused("; ".join(part for part in (error.what, error.help) if part)) from error
        return types.WorkspaceEdit({params.text_document.uri: edits})
