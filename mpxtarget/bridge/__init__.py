"""The mpx100: portals, presented targets, the initiator database and LUN masking.

Knows no socket, clock or file. The server asks it who may log in and what an initiator sees, and tells it
what changed.
"""
