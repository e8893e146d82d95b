"""What several tests say in SCSI, with `mpxtarget.testing`'s initiator."""

from mpxtarget.testing.client import Initiator, Result

BLOCK = 512
GOOD, CHECK_CONDITION = 0x00, 0x02
TEST_UNIT_READY = bytes(6)
UNIT_ATTENTION = 6
Sense = tuple[int, int, int]


def sense_of(result: Result) -> Sense | None:
    """Sense key, ASC and ASCQ; None if there are none."""
    sense = result.sense
    if not sense:
        return None
    if sense[0] & 0x7F >= 0x72:
        return sense[1] & 15, sense[2], sense[3]
    return sense[2] & 15, sense[12], sense[13]


async def settle(initiator: Initiator, lun: int) -> list[Sense]:
    """Take all unit attentions of a LUN; returns them in their order."""
    taken: list[Sense] = []
    while (result := await initiator.scsi(lun, TEST_UNIT_READY)).status != GOOD:
        sense = sense_of(result)
        assert sense is not None and sense[0] == UNIT_ATTENTION and len(taken) < 10, f"{result}"
        taken.append(sense)
    return taken
