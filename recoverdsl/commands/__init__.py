"""The commands, one file each, and their common parts. A command parses options, calls and prints.

Nothing heavy is imported until a command does its work, so that help and completion are immediate.
"""
