"""The limits of third-party copy, as VPD page 8Fh and RECEIVE COPY OPERATING PARAMETERS report them."""

from __future__ import annotations

from typing import Final

MAXIMUM_CSCD_DESCRIPTORS: Final = 32
MAXIMUM_SEGMENT_DESCRIPTORS: Final = 64
MAXIMUM_DESCRIPTOR_LIST_LENGTH: Final = 32 * MAXIMUM_CSCD_DESCRIPTORS + 28 * MAXIMUM_SEGMENT_DESCRIPTORS
MAXIMUM_SEGMENT_LENGTH: Final = 32 << 20
"""Bytes; VMware ESXi asks for up to 16 MiB."""

CONCURRENT_COPIES: Final = 32
"""Copies under way on one disk, of all hosts."""
REMEMBERED_COPIES: Final = 64
"""Copies that are over, of one disk, whose results can still be asked for."""

MAXIMUM_RANGES: Final = 64
"""Block device range descriptors in one token command."""
MAXIMUM_TOKEN_BYTES: Final = 256 << 20
OPTIMAL_TOKEN_BYTES: Final = 64 << 20
LIVE_TOKENS: Final = 128
"""ROD tokens of one device that can be used."""
LIVE_TOKENS_OF_ONE_INITIATOR: Final = 64
"""So that none can leave nothing to the others."""
REMEMBERED_TOKENS: Final = 512
"""Tokens that cannot be used any more, of which is still known why."""
DEFAULT_INACTIVITY_TIMEOUT: Final = 60
MAXIMUM_INACTIVITY_TIMEOUT: Final = 600
"""Seconds."""
