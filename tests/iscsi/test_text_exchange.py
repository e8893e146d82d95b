"""Text Requests: continuation, tags, keys of full feature phase, and SendTargets (RFC 7143 11.10, App. C)."""

from __future__ import annotations

import pytest

from mpxtarget.pdu import (
    NO_TAG,
    DataIn,
    NopIn,
    RejectReason,
    TextResponse,
    decode_pairs,
    encode_pairs,
    split_text,
)
from mpxtarget.testing import TextAnswered
from support.cdb import read_10
from support.fixtures import MakeWorld
from support.world import LUN, OTHER_TARGET, TARGET, Host, World, only, reject_of

Pairs = tuple[tuple[str, str], ...]


def ask(host: Host, *pairs: tuple[str, str], segment: int | None = None) -> Pairs:
    """A text request and its whole answer."""
    itt = host.machine.text(pairs, segment_length=segment)
    host.run()
    return next(e.pairs for e in host.events if isinstance(e, TextAnswered) and e.itt == itt)


def alive(host: Host) -> None:
    """The connection still answers."""
    only(host.say(host.make.nop_out(immediate=1)), NopIn)


# SendTargets


@pytest.mark.conformance("DSC-001", "DSC-006", "DSC-009", "DSC-010", "DSC-011")
def test_all_targets_with_all_their_addresses(world: World) -> None:
    world.known[TARGET] = ["192.0.2.1:3260,1", "[2001:db8::1]:3260,1"]
    host = world.discovery()
    assert ask(host, ("SendTargets", "All")) == (
        ("TargetName", TARGET),
        ("TargetAddress", "192.0.2.1:3260,1"),
        ("TargetAddress", "[2001:db8::1]:3260,1"),
        ("TargetName", OTHER_TARGET),
        ("TargetAddress", "192.0.2.1:3260,1"),
    )


@pytest.mark.conformance("DSC-007")
def test_one_target_by_name(world: World) -> None:
    host = world.discovery()
    assert ask(host, ("SendTargets", OTHER_TARGET)) == (
        ("TargetName", OTHER_TARGET),
        ("TargetAddress", "192.0.2.1:3260,1"),
    )


@pytest.mark.conformance("DSC-006", "DSC-007", "SEC-006")
def test_nothing_is_told_of_what_is_not_there(world: World) -> None:
    host = world.discovery()
    assert ask(host, ("SendTargets", "iqn.2001-04.com.example:nothing")) == ()
    world.known.clear()
    assert ask(host, ("SendTargets", "All")) == ()


@pytest.mark.conformance("DSC-008")
@pytest.mark.parametrize("value", ["", TARGET])
def test_a_normal_session_hears_of_its_own_target(world: World, value: str) -> None:
    assert ask(world.host(), ("SendTargets", value)) == (
        ("TargetName", TARGET),
        ("TargetAddress", "192.0.2.1:3260,1"),
    )


@pytest.mark.conformance("DSC-008", "SEC-006")
@pytest.mark.parametrize("value", ["All", OTHER_TARGET])
def test_a_normal_session_hears_of_no_other_target(world: World, value: str) -> None:
    assert ask(world.host(), ("SendTargets", value)) == (("SendTargets", "Reject"),)


@pytest.mark.conformance("DSC-008")
def test_discovery_has_no_target_of_its_own(world: World) -> None:
    assert ask(world.discovery(), ("SendTargets", "")) == (("SendTargets", "Reject"),)


@pytest.mark.conformance("DSC-005", "RJT-002")
@pytest.mark.parametrize("pairs", [[("SendTargets", "All")] * 2, [("SendTargets", "All"), ("X-key", "1")]])
def test_send_targets_is_alone_in_its_request(world: World, pairs: list[tuple[str, str]]) -> None:
    host = world.discovery()
    request = host.make.text_request()
    assert reject_of(host.say(request, encode_pairs(pairs))).reason == RejectReason.PROTOCOL_ERROR
    assert ask(host, ("SendTargets", OTHER_TARGET))[0] == ("TargetName", OTHER_TARGET)


@pytest.mark.conformance("DSC-012", "DSC-013", "TXT-002", "TXT-008", "PDU-010")
@pytest.mark.parametrize("limit", [512, 515, 8192, 262144])
def test_a_long_answer_comes_in_parts(world: World, limit: int) -> None:
    world.known = {f"{TARGET}.{number}": ["192.0.2.1:3260,1"] for number in range(500)}
    host = world.discovery(keys={"MaxRecvDataSegmentLength": str(limit)})
    answer = ask(host, ("SendTargets", "All"))
    assert [value for key, value in answer if key == "TargetName"] == list(world.known)
    parts = host.pdus(TextResponse)
    assert len(parts) >= sum(len(key) + len(value) + 2 for key, value in answer) // limit
    for part in parts[:-1]:
        assert part.data_segment_length <= limit
        assert (part.final, part.ttt == NO_TAG) == (0, False)
    assert (parts[-1].final, parts[-1].ttt) == (1, NO_TAG)


# sequences


@pytest.mark.conformance("TXT-003", "TXT-001", "TXT-002", "LGN-018")
@pytest.mark.parametrize("segment", [1, 5, 11])
def test_a_request_may_come_in_parts_cut_anywhere(world: World, segment: int) -> None:
    host = world.discovery()
    assert ask(host, ("SendTargets", OTHER_TARGET), segment=segment)[0] == ("TargetName", OTHER_TARGET)
    parts = host.pdus(TextResponse)
    for part in parts[:-1]:
        assert (part.final, part.continue_, part.data_segment_length) == (0, 0, 0)
        assert part.ttt != NO_TAG


@pytest.mark.conformance("TXT-002")
def test_f_0_is_answered_with_f_0(world: World) -> None:
    host = world.discovery()
    request = host.make.text_request(final=0)
    ((first, content),) = host.say(request, encode_pairs([("SendTargets", TARGET)]))
    assert isinstance(first, TextResponse)
    assert (first.final, decode_pairs(content)[0]) == (0, ("TargetName", TARGET))
    last = only(host.say(host.make.text_request(itt=request.itt, ttt=first.ttt)), TextResponse)
    assert (last.final, last.ttt, last.data_segment_length) == (1, NO_TAG, 0)


@pytest.mark.conformance("TXT-003", "RJT-002")
def test_c_and_f_together_are_rejected(world: World) -> None:
    host = world.discovery()
    request = host.make.text_request(final=1, continue_=1)
    assert reject_of(host.say(request, b"Send")).reason == RejectReason.PROTOCOL_ERROR


@pytest.mark.conformance("TXT-007", "RJT-002", "TXT-001")
def test_a_stale_transfer_tag_is_rejected(world: World) -> None:
    host = world.discovery()
    request = host.make.text_request(final=0, continue_=1)
    first = only(host.say(request, b"SendTargets="), TextResponse)
    for itt, ttt in ((request.itt, first.ttt + 1), (request.itt + 100, first.ttt)):
        stale = host.make.text_request(itt=itt, ttt=ttt)
        assert reject_of(host.say(stale, b"All\0")).reason == RejectReason.INVALID_PDU_FIELD
    last = host.make.text_request(itt=request.itt, ttt=first.ttt)
    only(host.say(last, b"All\0"), TextResponse)
    assert reject_of(host.say(last, b"All\0")).reason == RejectReason.INVALID_PDU_FIELD


@pytest.mark.conformance("TXT-004", "RJT-002")
def test_one_exchange_at_a_time(world: World) -> None:
    host = world.discovery()
    first = host.make.text_request(final=0, continue_=1)
    response = only(host.say(first, b"SendTargets="), TextResponse)
    second = host.make.text_request()
    assert reject_of(host.say(second, b"SendTargets=All\0")).reason == RejectReason.PROTOCOL_ERROR
    ((_, content),) = host.say(host.make.text_request(itt=first.itt, ttt=response.ttt), b"All\0")
    assert decode_pairs(content)[0] == ("TargetName", TARGET), "the first one goes on"


@pytest.mark.conformance("TXT-001")
def test_a_request_without_a_transfer_tag_starts_anew(world: World) -> None:
    host = world.discovery()
    first = host.make.text_request(final=0, continue_=1)
    host.say(first, b"garbage that never ends")
    ((answer, content),) = host.say(host.make.text_request(itt=first.itt), b"SendTargets=All\0")
    assert isinstance(answer, TextResponse)
    assert decode_pairs(content)[0] == ("TargetName", TARGET)


@pytest.mark.conformance("TXT-001", "TXT-009", "RJT-002")
@pytest.mark.parametrize(
    "end", [b"=\xff\xfe\0", b"", b"\0\0", b"a\0"], ids=["no text", "no end", "empty", "no ="]
)
def test_a_request_that_cannot_be_decoded_is_rejected_and_forgotten(world: World, end: bytes) -> None:
    host = world.discovery()
    first = host.make.text_request(final=0, continue_=1)
    response = only(host.say(first, b"SendTargets"), TextResponse)
    rest = host.make.text_request(itt=first.itt, ttt=response.ttt)
    assert reject_of(host.say(rest, end)).reason == RejectReason.PROTOCOL_ERROR
    assert host.target.connection.text is None
    assert ask(host, ("SendTargets", TARGET))[0] == ("TargetName", TARGET)


@pytest.mark.conformance("TXT-001", "DSC-005", "TXT-004")
def test_a_rejected_sequence_is_forgotten_whatever_the_reason(world: World) -> None:
    host = world.discovery()
    first = host.make.text_request(final=0, continue_=1)
    response = only(host.say(first, b"SendTargets=All\0Send"), TextResponse)
    rest = host.make.text_request(itt=first.itt, ttt=response.ttt)
    assert reject_of(host.say(rest, b"Targets=All\0")).reason == RejectReason.PROTOCOL_ERROR
    assert ask(host, ("SendTargets", TARGET))[0] == ("TargetName", TARGET)


@pytest.mark.conformance("SEC-004", "TXT-007")
def test_text_without_end_is_cut_off(world: World) -> None:
    host = world.discovery()
    request = host.make.text_request(final=0, continue_=1)
    ttt = NO_TAG
    for piece in split_text(b"SendTargets=" + bytes(b"x" * 65536), 8192):
        answers = host.say(host.make.text_request(itt=request.itt, ttt=ttt, final=0, continue_=1), piece)
        if not isinstance(answers[0][0], TextResponse):
            break
        ttt = answers[0][0].ttt
    assert reject_of(answers).reason == RejectReason.PROTOCOL_ERROR
    alive(host)


# keys


@pytest.mark.conformance("TXT-005", "TXT-009")
@pytest.mark.parametrize("key", ["MaxBurstLength", "HeaderDigest", "InitialR2T", "TargetName", "AuthMethod"])
def test_keys_of_login_change_nothing_any_more(world: World, key: str) -> None:
    host = world.host()
    before = host.session.parameters.max_burst_length
    assert ask(host, (key, "512")) == ((key, "Reject"),)
    assert host.session.parameters.max_burst_length == before


@pytest.mark.conformance("TXT-009")
def test_an_unknown_key_is_not_understood(world: World) -> None:
    host = world.host()
    request = host.make.text_request()
    ((answer, content),) = host.say(request, encode_pairs([("X-com.example.Nothing", "1")]))
    assert isinstance(answer, TextResponse)
    assert decode_pairs(content) == [("X-com.example.Nothing", "NotUnderstood")]


@pytest.mark.conformance("TXT-006", "PDU-010", "RDF-001")
@pytest.mark.parametrize("fast", [False, True])
def test_a_segment_length_declared_anew_holds_from_then_on(make_world: MakeWorld, fast: bool) -> None:
    world = make_world(fast=fast)
    content = world.store.pattern()
    host = world.host()
    for limit in (512, 4096, 1024):
        assert ask(host, ("MaxRecvDataSegmentLength", str(limit))) == ()
        itt = host.command(LUN, read_10(0, 16), read_length=8192)
        assert {pdu.data_segment_length for pdu in host.pdus(DataIn, itt)} == {limit}
        assert host.done(itt).data == content[:8192]


@pytest.mark.conformance("TXT-006", "TXT-001")
def test_a_sequence_that_is_rejected_declares_nothing(world: World) -> None:
    host = world.host()
    pairs = encode_pairs([("MaxRecvDataSegmentLength", "512"), ("MaxRecvDataSegmentLength", "1024")])
    reject_of(host.say(host.make.text_request(), pairs))
    reject_of(host.say(host.make.text_request(), encode_pairs([("MaxRecvDataSegmentLength", "100")])))
    itt = host.command(LUN, read_10(0, 16), read_length=8192)
    assert len(host.pdus(DataIn, itt)) == 1


# discovery sessions


@pytest.mark.conformance("DSC-002", "RJT-002", "DSC-004")
@pytest.mark.parametrize("kind", ["scsi_command", "data_out", "snack_request"])
def test_a_discovery_session_serves_nothing_but_text_and_logout(world: World, kind: str) -> None:
    host = world.discovery()
    reject_of(host.say(getattr(host.make, kind)()))
    assert host.session.tasks == {}
    assert ask(host, ("SendTargets", TARGET))[0] == ("TargetName", TARGET)
    host.machine.logout()
    host.run()
    assert host.closed
