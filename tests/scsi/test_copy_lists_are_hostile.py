"""Whatever a host sends as a copy: bounded work inside the disks, one answer, and nothing left behind."""

from __future__ import annotations

from copy_host import SECOND_NAA, THIRD_NAA, CopyHost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scsi_initiator import NAA

from mpxtarget.scsi.copy import limits
from mpxtarget.scsi.plan import Reply, TakeData, WorkOnBlocks
from support.copies import ZERO_TOKEN, copy_out, cscd, lid1, lid4, populate, segment, write_using

NAAS = st.sampled_from([NAA, SECOND_NAA, THIRD_NAA, bytes(16)])
IDS = st.one_of(st.integers(0, 5), st.sampled_from([0xFFFF, 32, 33, 511]))
LBAS = st.one_of(st.integers(0, 5000), st.integers(0, (1 << 64) - 1))
COUNTS = st.one_of(st.integers(0, 5000), st.integers(0, 0xFFFF))
TWO_BITS = st.integers(0, 3)

CSCD = st.builds(cscd, NAAS, byte_1=st.sampled_from([0, 0, 0, 0x20, 0x40, 5]))
CSCDS = st.lists(CSCD, max_size=34).map(b"".join)
SEGMENT = st.builds(segment, COUNTS, LBAS, LBAS, source=IDS, destination=IDS, flags=TWO_BITS)
SEGMENTS = st.lists(SEGMENT, max_size=66).map(b"".join)
PAIRS = st.lists(st.tuples(LBAS, st.one_of(COUNTS, st.integers(0, 0xFFFFFFFF))), max_size=66)

LISTS = st.one_of(
    st.tuples(st.just(0x00), st.builds(lid1, CSCDS, SEGMENTS, usage=TWO_BITS)),
    st.tuples(st.just(0x01), st.builds(lid4, CSCDS, SEGMENTS, usage=TWO_BITS, byte_15=TWO_BITS)),
    st.tuples(st.just(0x10), PAIRS.map(lambda pairs: populate(*pairs))),
    st.tuples(st.just(0x11), PAIRS.map(lambda pairs: write_using(ZERO_TOKEN, *pairs))),
    st.tuples(st.sampled_from([0x00, 0x01, 0x10, 0x11]), st.binary(max_size=700)),
)


@st.composite
def bent(draw: st.DrawFn) -> tuple[int, bytes, int]:
    """A list, perhaps with bytes changed, and a length that may not be its own."""
    action, data = draw(LISTS)
    changed = bytearray(data)
    for at, value in draw(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=4)):
        if at < len(changed):
            changed[at] = value
    length = draw(st.one_of(st.just(len(data)), st.just(len(data)), st.integers(0, len(data) + 64)))
    return action, bytes(changed), length


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(bent(), min_size=1, max_size=6))
def test_any_list_gets_one_answer_and_bounded_work(requests: list[tuple[int, bytes, int]]) -> None:
    host = CopyHost()
    for action, data, length in requests:
        plan = host.path.plan(copy_out(action, length, 1).hex())
        if isinstance(plan, TakeData):
            assert plan.length == length <= 1 << 17
            plan = plan.then(data[:length].ljust(length, b"\0"))
        if isinstance(plan, WorkOnBlocks):
            assert 1 <= len(plan.extents) <= 256
            total = sum(extent.length for extent in plan.extents)
            assert total <= 2 * limits.MAXIMUM_SEGMENT_DESCRIPTORS * limits.MAXIMUM_SEGMENT_LENGTH
        reply = host.carry_out(plan)
        assert isinstance(reply, Reply)
        assert reply.status in (0x00, 0x02)
        assert (reply.status == 0x02) == bool(reply.sense)
        assert len(reply.sense) <= 252
    assert max(medium.longest for medium in host.media.values()) <= 1 << 20
    for copies in (disk.copies for disk in host.array.disks.values()):
        assert not copies._anonymous
        assert not any(copy.under_way for copy in copies._known.values())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_segments_leave_what_a_host_would_have_left(data: st.DataObject) -> None:
    host = CopyHost()
    model = {lun: bytearray(host.medium(lun).content) for lun in (1, 2)}
    number = st.integers(0, 4095)
    moves = []
    for _ in range(data.draw(st.integers(1, 5))):
        source, destination = data.draw(number), data.draw(number)
        count = data.draw(st.integers(0, 4096 - max(source, destination)))
        moves.append((data.draw(st.integers(0, 1)), data.draw(st.integers(0, 1)), source, destination, count))
    segments = b"".join(segment(n, s, d, source=a, destination=b) for a, b, s, d, n in moves)
    parameters = lid1(cscd(NAA) + cscd(SECOND_NAA), segments)
    host.good(copy_out(0x00, len(parameters)), parameters)
    for a, b, source, destination, count in moves:
        read = bytes(model[a + 1][source * 512 : (source + count) * 512])
        model[b + 1][destination * 512 : (destination + count) * 512] = read
    assert all(host.medium(lun).content == content for lun, content in model.items())
