"""The language server: what an editor asks of a `.rec` file, over standard input and output.

It knows the language and nothing else of the tool. Importing its parts needs the extra
`recoverdsl[lsp]`; `recoverdsl lsp` starts it.
"""
