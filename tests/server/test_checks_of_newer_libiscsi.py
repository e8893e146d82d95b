"""What the newest iscsi-test-cu asks beyond the 230 tests of Debian's, asked by our own initiator.

docs/scoreboard.md has the list; those of CHAP are in tests/iscsi/test_chap_value_forms.py, the one of large
copies is with those of EXTENDED COPY. Two want SendTargets=All to work in a normal session, which RFC 7143
forbids: what is proved here is what the RFC says.
"""

import pytest

from mpxtarget.pdu import LogoutResponse, ScsiResponse, TextResponse, decode_pairs, encode_pairs
from support.cdb import data, read_10, report_luns, write_10
from support.world import LUN, OTHER_TARGET, TARGET, World

RTPG = 0xA3


def text(world: World, *pairs: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """What a Text Request in a normal session is answered."""
    host = world.host()
    answers = host.say(host.make.text_request(), encode_pairs(pairs))
    ((answer, content),) = answers
    assert isinstance(answer, TextResponse)
    return tuple(decode_pairs(content))


def report(world: World, cdb: bytes, length: int) -> bytes:
    """The data of a command that has to end with GOOD."""
    host = world.host()
    host.command(LUN, cdb, read_length=length)
    done = host.done()
    assert done.status == 0
    return bytes(done.data)


def rtpg(length: int) -> bytes:
    """REPORT TARGET PORT GROUPS, without extended header."""
    return bytes((RTPG, 0x0A, 0, 0, 0, 0, *length.to_bytes(4, "big"), 0, 0))


# ReportLUNs


@pytest.mark.conformance("LUN-010", "LUN-012")
def test_report_luns_simple(world: World) -> None:
    luns = report(world, report_luns(512), 512)
    assert int.from_bytes(luns[:4], "big") == len(luns) - 8
    fields = [luns[at : at + 8] for at in range(8, len(luns), 8)]
    assert len(fields) == len(set(fields)) == 3


@pytest.mark.conformance("LUN-011")
def test_report_luns_alloclen(world: World) -> None:
    host = world.host()
    for length in range(32):
        host.command(0, report_luns(length), read_length=length)
        done = host.done()
        if length < 16:
            assert done.status == 2
            assert (done.sense[2] & 0x0F, done.sense[12:14]) == (5, b"\x24\x00")
        else:
            assert done.status == 0


# ReportTargetPortGroups


@pytest.mark.conformance("ALU-001", "ALU-003")
def test_rtpg_simple(world: World) -> None:
    size = 4 + int.from_bytes(report(world, rtpg(4), 4), "big")
    groups = report(world, rtpg(size), size)
    assert len(groups) == size
    states, at = [], 4
    while at < size:
        states.append(groups[at] & 0x0F)
        at += 8 + 4 * groups[at + 7]
    assert at == size
    assert set(states) <= {0x0, 0x1, 0x2, 0x3, 0x4, 0xE, 0xF}
    assert any(state in (0x0, 0x1) for state in states)


@pytest.mark.conformance("ALU-001", "CDB-002")
def test_rtpg_alloclen(world: World) -> None:
    whole = report(world, rtpg(512), 512)
    for length in range(len(whole) + 8):
        assert report(world, rtpg(length), 512) == whole[:length]


# iSCSITMF


@pytest.mark.conformance("LGO-001", "RSP-007", "SES-008")
def test_logout_during_io(world: World) -> None:
    world.store.close_gate()
    host = world.host()
    for number in range(10):
        host.command(LUN, write_10(8 * number, 8), data_out=data(4096, number))
    ((answer, _),) = host.say(host.make.logout_request())
    assert isinstance(answer, LogoutResponse) and answer.response == 0
    world.store.open_gate()
    world.settle()
    assert host.pdus(ScsiResponse) == []
    again = world.host()
    again.command(LUN, read_10(0, 8), read_length=4096)
    world.settle()
    assert again.done().status == 0


# iSCSINop


@pytest.mark.conformance("NOP-001")
@pytest.mark.parametrize("content", [b"nopping\0", b""])
def test_nop_simple(world: World, content: bytes) -> None:
    host = world.host()
    ((_, echoed),) = host.say(host.make.nop_out(), content)
    assert echoed == content


# iSCSISendTargets


@pytest.mark.conformance("DSC-008")
def test_sendtargets_simple_as_the_rfc_has_it(world: World) -> None:
    assert text(world, ("SendTargets", "All")) == (("SendTargets", "Reject"),)
    own = text(world, ("SendTargets", ""))
    assert own[0] == ("TargetName", TARGET)
    assert {key for key, _ in own[1:]} == {"TargetAddress"}
    assert text(world, ("SendTargets", TARGET)) == own


@pytest.mark.conformance("DSC-008", "TXT-009", "NEG-001")
@pytest.mark.parametrize(
    ("key", "value", "answer"),
    [
        ("SendTargetsPlease", "All", "NotUnderstood"),
        ("sENDtARGETS", "aLL", "NotUnderstood"),
        ("SendTargets", "Alle", "Reject"),
        ("SendTargets", "A", "Reject"),
        ("SendTargets", OTHER_TARGET, "Reject"),
    ],
)
def test_sendtargets_invalid(world: World, key: str, value: str, answer: str) -> None:
    assert text(world, (key, value)) == ((key, answer),)
