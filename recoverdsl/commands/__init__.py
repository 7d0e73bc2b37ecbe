"""The commands, one file each, and what they share. Each is thin: it reads its options, calls, prints.

Nothing heavy is imported until a command does its work, so that help and completion come at once.
"""
