"""The running target: sockets, timers, state on disk and the control API. The only package that does I/O
for itself.

Everything a SCSI or iSCSI rule decides is decided below, in `bridge`, `array`, `scsi` and `iscsi`; this
package brings bytes and the time to them and keeps what has to outlast the process (`state`).
"""
