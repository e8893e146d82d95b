"""Whatever hosts do with reservations of either kind, the data path's short cut lets through what the device
server would, and an independent reading of the standard's tables says the same.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from persistent_initiator import (
    CLEAR,
    FOR_REGISTRANTS,
    IGNORE,
    MOVE,
    PREEMPT,
    PREEMPT_AND_ABORT,
    RELEASE,
    RESERVE,
    TYPES,
    UNREG,
    basic_list,
    carry_out,
    full_status,
    move_list,
    port_id,
    reservation,
)
from scsi_initiator import READ_8, RESERVATION_CONFLICT, WRITE_8, Array, Path

from mpxtarget.scsi import task_management
from mpxtarget.scsi.plan import Reply

INITIATORS = ["iqn.a", "iqn.b"]
EXCLUSIVE_ACCESS = (3, 6, 8)

which = st.integers(0, 3)
keys = st.integers(1, 2)


class Hosts(RuleBasedStateMachine):
    """Two hosts with two paths each, which hear of everything at once."""

    @initialize()
    def begin(self) -> None:
        self.array = Array()
        self.paths = [self._log_in(index) for index in range(4)]
        self.works = 0

    def _log_in(self, index: int) -> Path:
        return self.array.path(INITIATORS[index % 2], port=2 * (index // 2))

    def _out(self, index: int, action: int, new_key: int = 0, type_: int = 0) -> None:
        path = self.paths[index]
        key = self.array.disk.reservations.key_of(path.nexus.name) or 0
        carry_out(path, action, type_, basic_list(key, new_key))

    @rule(index=which, key=st.integers(0, 2))
    def register(self, index: int, key: int) -> None:
        self._out(index, IGNORE, key)

    @rule(index=which, type_=st.sampled_from(TYPES))
    def reserve(self, index: int, type_: int) -> None:
        self._out(index, IGNORE, 1 + index % 2)
        self._out(index, RESERVE, type_=type_)

    @rule(index=which)
    def release(self, index: int) -> None:
        held = self.array.disk.reservations.reservation
        self._out(index, RELEASE, type_=held.type if held else 1)

    @rule(index=which, key=st.integers(0, 2), type_=st.sampled_from(TYPES), abort=st.booleans())
    def preempt(self, index: int, key: int, type_: int, abort: bool) -> None:
        self._out(index, PREEMPT_AND_ABORT if abort else PREEMPT, key, type_)

    @rule(index=which)
    def clear(self, index: int) -> None:
        self._out(index, CLEAR)

    @rule()
    def revoke(self) -> None:
        self.array.disk.revoke_reservations()

    @rule(index=which, heir=which, key=keys, unregister=st.booleans())
    def move(self, index: int, heir: int, key: int, unregister: bool) -> None:
        path = self.paths[index]
        own = self.array.disk.reservations.key_of(path.nexus.name) or 0
        to = port_id(INITIATORS[heir % 2])
        carry_out(path, MOVE, 0, move_list(own, key, to, flags=UNREG * unregister, port=1 + 2 * (heir // 2)))

    @rule(index=which, cdb=st.sampled_from(["16", "17", "56", "57"]))
    def reserve_or_release_as_in_spc_2(self, index: int, cdb: str) -> None:
        self.paths[index].plan(cdb)

    @rule(index=which)
    def come_back(self, index: int) -> None:
        self.paths[index].nexus.lose()
        self.paths[index] = self._log_in(index)

    @rule(index=which)
    def reset(self, index: int) -> None:
        task_management.lun_reset(self.paths[index].nexus, 1 << 48)

    @rule(begins=st.booleans())
    def work_on_the_disk(self, begins: bool) -> None:
        if begins:
            self.works += 1
            self.array.disk.hold()
        elif self.works:
            self.works -= 1
            self.array.disk.release()

    @invariant()
    def everybody_agrees(self) -> None:
        for path in getattr(self, "paths", []):
            itl = path.itl()
            if itl.attentions:
                assert not itl.go_read
                assert not itl.go_write
                while itl.attentions:
                    itl.take_unit_attention()
            may_read, may_write = self._allowed(path)
            assert (itl.may_read, itl.may_write) == (may_read, may_write)
            open_now = (False, False) if self.works else (may_read, may_write)
            assert (itl.go_read, itl.go_write) == open_now
            conflict = Reply(RESERVATION_CONFLICT)
            assert (path.plan(READ_8) != conflict, path.plan(WRITE_8) != conflict) == (may_read, may_write)

    def _allowed(self, path: Path) -> tuple[bool, bool]:
        """Whether a nexus may read, and write, by what PERSISTENT RESERVE IN tells."""
        by_reserve = self.array.disk.reserved_by
        if by_reserve is not None:
            assert self.array.disk.reservations.reservation is None
            return (by_reserve is path.nexus,) * 2
        held = reservation(path)
        if held is None:
            return True, True
        type_ = held[1]
        mine = [
            each
            for each in full_status(path)
            if each.name == path.nexus.initiator_port and each.port == path.nexus.target_port.relative_id
        ]
        if mine and (mine[0].holds or type_ in FOR_REGISTRANTS):
            return True, True
        return type_ not in EXCLUSIVE_ACCESS, False

    @invariant()
    def a_reservation_has_a_registered_holder(self) -> None:
        reservations = self.array.disk.reservations if hasattr(self, "array") else None
        if reservations is not None and reservations.reservation is not None:
            holder = reservations.reservation.holder
            assert reservations
            assert holder is None or reservations.key_of(holder) is not None


Hosts.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestHosts = pytest.mark.conformance("PRS-025", "PRS-006", "RSV-002", "RSV-005", "RSV-006", "SBC-006")(
    Hosts.TestCase
)
