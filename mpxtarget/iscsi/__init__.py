"""The iSCSI protocol of RFC 7143 as state machines: bytes and events in, bytes and events out.

Read in the order of a connection's life: `keys`, `negotiation`, `chap` and `login` are the login phase,
`connection`, `session` and `task` what follows it. Nothing here knows a socket, a clock or a file.
"""
