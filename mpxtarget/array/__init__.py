"""The EVA: controllers, host ports, virtual disks and who manages them, names and numbers.

Knows no socket, clock or file: random bytes, opened backing stores and records come in.
"""
