"""The few Linux calls that the standard library does not have."""

import ctypes
import errno
import os
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)

# fallocate(2): on file systems and on block devices alike, a punched range reads back as zeros.
# off_t is 64 bits wide in fallocate64 everywhere; musl has only fallocate, and there it always is.
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_KEEP_SIZE: Final = 1
_PUNCH_HOLE: Final = 2

_fstatfs = _libc.fstatfs
_fstatfs.argtypes = (ctypes.c_int, ctypes.c_void_p)
_STATFS_ROOM: Final = 256  # struct statfs has 120 bytes on 64-bit Linux
_MEMORY_FILE_SYSTEMS: Final = frozenset({0x01021994, 0x858458F6})  # tmpfs, ramfs: statfs(2)


def punch_hole(fd: int, offset: int, length: int) -> bool:
    """Deallocate a range, which then reads as zeros. False: this file or device cannot.

    Raises OSError for everything else.
    """
    while _fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length):
        number = ctypes.get_errno()
        if number in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True


def is_in_memory(fd: int) -> bool:
    """Whether the file lies on a file system which is memory, so that reading it never waits for a disk."""
    room = ctypes.create_string_buffer(_STATFS_ROOM)
    if _fstatfs(fd, room):
        return False
    kind = ctypes.c_long.from_buffer(room).value  # f_type is the first member
    return kind & 0xFFFFFFFF in _MEMORY_FILE_SYSTEMS


def can_read_without_waiting(fd: int) -> bool:
    """Whether the file system knows RWF_NOWAIT reads; asked by reading one byte."""
    try:
        os.preadv(fd, (bytearray(1),), 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            return False
        raise
    return True


# cachestat(2), from Linux 6.5 on; its number is the same on every architecture.
_CACHESTAT: Final = 451
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Cachestat(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64) for name in ("cache", "dirty", "writeback", "evicted", "recently_evicted")
    )


_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def is_cached(fd: int, offset: int, length: int) -> bool:
    """Whether every page of a range stands in the page cache, so that sendfile(2) does not wait for a disk.

    False too where the kernel cannot tell. Holes are cached once they have been read.
    """
    extent, found = _Range(offset, length), _Cachestat()
    if _syscall(_CACHESTAT, fd, ctypes.byref(extent), ctypes.byref(found), 0):
        return False
    pages = (offset + length + _PAGE - 1) // _PAGE - offset // _PAGE
    return bool(found.cache >= pages)
