"""The data path's short cut takes nothing that the device server would have refused, and loses nothing."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from persistent_initiator import (
    ALL_TG_PT,
    APTPL,
    MOVE,
    TYPES,
    UNREG,
    basic_list,
    carry_out,
    move_list,
    port_id,
)
from scsi_initiator import (
    CONTROLLER_A,
    CONTROLLER_B,
    READ_8,
    WRITE_8,
    Array,
    Custody,
    Path,
    make_disk,
    parse_sense,
)

from mpxtarget.scsi import task_management
from mpxtarget.scsi.codes import AccessState
from mpxtarget.scsi.logical_unit import ModeParameters
from mpxtarget.scsi.plan import ReadBlocks, Reply, TakeData, WriteBlocks

INITIATORS = ["iqn.a", "iqn.b"]
LIMITS = [None, AccessState.UNAVAILABLE]
CDBS = [
    "00", "03 00 00 00 12", "12 00 00 00 60", "A0 00 00 000000 00001000", "16", "17", "1B", "FF",
    "1B 00 00 00 01", "15 10 00 00 18", "28 00 00000000 20 0001", READ_8, WRITE_8,
]  # fmt: skip
NO_CACHE = bytes.fromhex("00000000 0812").ljust(24, b"\0")

which_path = st.integers(0, 3)


class Paths(RuleBasedStateMachine):
    """Two hosts with two paths each, and everything that can happen to a disk."""

    @initialize()
    def begin(self) -> None:
        self.array = Array({1: make_disk(blocks=64), 2: make_disk(blocks=64)})
        self.paths = [self._login(index) for index in range(4)]

    def _login(self, index: int) -> Path:
        return self.array.login(INITIATORS[index % 2], port=2 * (index // 2))

    @rule(path=which_path, cdb=st.sampled_from(CDBS), lun=st.integers(0, 3))
    def send(self, path: int, cdb: str, lun: int) -> None:
        plan = self.paths[path].plan(cdb, lun)
        if isinstance(plan, TakeData):
            plan.then(NO_CACHE)

    @rule(
        path=which_path,
        action=st.integers(0, 6),
        key=st.integers(0, 2),
        new_key=st.integers(0, 2),
        type_=st.sampled_from(TYPES),
        flags=st.sampled_from([0, APTPL, ALL_TG_PT]),
    )
    def reserve(self, path: int, action: int, key: int, new_key: int, type_: int, flags: int) -> None:
        carry_out(self.paths[path], action, type_, basic_list(key, new_key, flags))

    @rule(path=which_path, key=st.integers(0, 2), heir=which_path, unregister=st.booleans())
    def move_the_reservation(self, path: int, key: int, heir: int, unregister: bool) -> None:
        data = move_list(
            key, 1, port_id(INITIATORS[heir % 2]), flags=UNREG * unregister, port=1 + 2 * (heir // 2)
        )
        carry_out(self.paths[path], MOVE, 0, data)

    @rule(path=which_path)
    def hear_everything(self, path: int) -> None:
        for itl in self.paths[path].nexus.by_number.values():
            while itl.attentions:
                itl.take_unit_attention()

    @rule(path=which_path)
    def come_back(self, path: int) -> None:
        self.paths[path].nexus.lose()
        self.paths[path] = self._login(path)

    @rule(path=which_path, lun=st.integers(0, 2))
    def reset_lun(self, path: int, lun: int) -> None:
        task_management.lun_reset(self.paths[path].nexus, lun << 48)

    @rule(path=which_path)
    def reset_target(self, path: int) -> None:
        task_management.target_reset(self.paths[path].nexus)

    @rule(path=which_path)
    def clear_commands(self, path: int) -> None:
        task_management.commands_cleared(self.paths[path].nexus.by_number.values())

    @rule(path=which_path)
    def map_or_unmap(self, path: int) -> None:
        nexus = self.paths[path].nexus
        if 2 in nexus.by_number:
            nexus.unmap(2)
        else:
            nexus.map(2, self.array.disks[2])

    @rule(group=st.sampled_from([CONTROLLER_A, CONTROLLER_B]))
    def manage(self, group: int) -> None:
        self.array.disk.manage(group)

    @rule(seconds=st.sampled_from([0, 30]))
    def set_transition_time(self, seconds: int) -> None:
        self.array.disk.custody = Custody(seconds)

    @rule()
    def arrive(self) -> None:
        if self.array.disk.transitioning:
            self.array.disk.arrive()

    @rule(group=st.sampled_from([CONTROLLER_A, CONTROLLER_B]), state=st.sampled_from(LIMITS))
    def limit(self, group: int, state: int | None) -> None:
        self.array.disk.limit_access(group, state)

    @rule(blocks=st.integers(1, 64))
    def resize(self, blocks: int) -> None:
        self.array.disk.resize(blocks)

    @rule(read_only=st.booleans())
    def protect(self, read_only: bool) -> None:
        self.array.disk.set_read_only(read_only)

    @rule(path=which_path, mode=st.builds(ModeParameters, st.booleans(), st.booleans(), st.booleans()))
    def select_mode(self, path: int, mode: ModeParameters) -> None:
        self.array.disk.select_mode(mode, self.paths[path].nexus)

    @rule(stop=st.booleans())
    def stop_or_start(self, stop: bool) -> None:
        if stop:
            self.array.disk.stop()
        else:
            self.array.disk.start()

    @rule()
    def hold(self) -> None:
        self.array.disk.hold()
        assert not any(itl.go_read or itl.go_write for itl in self.array.disk.attached)
        self.array.disk.release()

    @invariant()
    def short_cut_and_device_server_agree(self) -> None:
        for path in getattr(self, "paths", []):
            for lun, itl in path.nexus.by_number.items():
                if lun == 0:
                    assert not itl.go_read
                    assert not itl.go_write
                    continue
                disk: Any = itl.lu
                assert (itl.blocks, 1 << itl.shift, itl.store) == (disk.blocks, disk.block_size, disk.store)
                self._compare(path, lun, itl.go_read, "28 00 00000000 00 0001", ReadBlocks(disk, 0, 512))
                self._compare(
                    path, lun, itl.go_write, "2A 00 00000000 00 0001", WriteBlocks(disk, 0, 512, False)
                )

    def _compare(self, path: Path, lun: int, go: bool, cdb: str, expected: ReadBlocks | WriteBlocks) -> None:
        itl = path.itl(lun)
        pending = list(itl.attentions)
        if pending:
            # asking the device server would take the unit attention away
            assert not go
            return
        plan = path.plan(cdb, lun)
        assert go is (plan == expected)
        assert list(itl.attentions) == pending
        if not go:
            assert isinstance(plan, Reply | WriteBlocks)


Paths.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPaths = pytest.mark.conformance(
    "UAT-002", "UAT-004", "SBC-006", "SBC-009", "ALU-005", "RSV-002", "PRS-025"
)(Paths.TestCase)


@pytest.mark.conformance("UAT-004")
def test_flags_fall_the_moment_a_unit_attention_is_raised(array: Array, path: Path) -> None:
    itl = path.itl()
    assert itl.go_read
    assert itl.go_write
    array.disk.reset()
    assert not itl.go_read
    assert not itl.go_write
    assert parse_sense(path.send(READ_8).sense).asc == 0x2903
    assert itl.go_read
    assert itl.go_write


def test_nexus_that_is_lost_goes_nowhere(array: Array, path: Path) -> None:
    itl = path.itl()
    path.nexus.lose()
    itl.refresh()
    assert not itl.go_read
    assert array.disk.attached == []
    assert path.sense("00").code == (5, 0x2500)
