"""What a SCSI command means: SAM-5, SPC-3/SPC-4 and SBC-3 for the disks and the console LU of an EVA.

Nothing here does I/O.  `device_server.plan` takes an I_T nexus, a LUN and a CDB and answers a *plan*: either
a finished reply, or what has to be read, written, compared or flushed to get there.  Whoever owns the
sockets and the disks carries the plan out.

Reading order: `plan` (the answers), `nexus` and `logical_unit` (the state), `commands` (every command, one
row each), `device_server` (the order of the checks), then one module per family of commands.
"""
