"""The language server: answers an editor's requests about `.rec` files over standard input and output.

It depends on the language and on nothing else of the tool. Importing its modules needs the extra
`recoverdsl[lsp]`; `recoverdsl lsp` starts it.
"""
