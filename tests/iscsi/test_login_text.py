"""Login text is whole before it is read, may be cut anywhere, and is bounded (RFC 7143 6.1, 6.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from login_initiator import FULL_FEATURE, NAMES, OPERATIONAL, SECURITY, Initiator, answers, status

from mpxtarget.iscsi.login import LoginState
from mpxtarget.iscsi.negotiation import MAX_KEYS, MAX_TEXT
from mpxtarget.pdu import LoginRequest, decode_pairs, encode_pairs

TEXT = encode_pairs([*NAMES, ("HeaderDigest", "CRC32C,None"), ("MaxBurstLength", "0x8000"), ("X-a", "1=2")])


def whole() -> tuple[bytes, object]:
    initiator = Initiator()
    reply = initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE, raw=TEXT)
    return reply.data, initiator.outcomes


@pytest.mark.conformance("LGN-016")
@pytest.mark.conformance("LGN-018")
@pytest.mark.parametrize("cut", range(len(TEXT) + 1))
def test_a_cut_at_any_byte_changes_nothing(cut: int) -> None:
    initiator = Initiator()
    first = initiator.send(csg=OPERATIONAL, more=True, raw=TEXT[:cut])
    response = first.response
    assert (first.data, response.transit, response.continue_) == (b"", 0, 0)
    assert (response.csg, response.nsg, response.status_class) == (OPERATIONAL, 0, 0)
    last = initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE, raw=TEXT[cut:])
    assert (last.data, initiator.outcomes) == whole()


@pytest.mark.conformance("LGN-018")
@given(st.lists(st.integers(0, len(TEXT)), max_size=12).map(sorted))
def test_many_cuts_change_nothing(cuts: list[int]) -> None:
    initiator = Initiator()
    start = 0
    for cut in cuts:
        assert initiator.send(csg=OPERATIONAL, more=True, raw=TEXT[start:cut]).data == b""
        start = cut
    last = initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE, raw=TEXT[start:])
    assert (last.data, initiator.outcomes) == whole()


@pytest.mark.conformance("NEG-002")
@pytest.mark.conformance("NEG-004")
@pytest.mark.parametrize("missing", range(1, len(b"X-a=1=2\0")))
def test_text_that_ends_inside_a_pair_is_an_error(missing: int) -> None:
    reply = Initiator().send(csg=OPERATIONAL, nsg=FULL_FEATURE, raw=TEXT[:-missing])
    assert status(reply) == 0x0200


@pytest.mark.conformance("NEG-002")
def test_a_full_segment_without_a_nul_is_an_error() -> None:
    assert status(Initiator().send(csg=SECURITY, raw=b"A" * 8192)) == 0x0200


@pytest.mark.conformance("SEC-002")
def test_login_segments_are_8192_bytes_at_most() -> None:
    padding = encode_pairs([("X-pad", "x" * (8192 - len(TEXT) - 7))])
    assert len(TEXT + padding) == 8192
    good = Initiator().send(csg=OPERATIONAL, nsg=FULL_FEATURE, raw=TEXT + padding)
    assert good.state is LoginState.ESTABLISHED
    assert status(Initiator().send(csg=OPERATIONAL, more=True, raw=TEXT + padding + b"x")) == 0x0200


@pytest.mark.conformance("NEG-006")
def test_a_negotiation_has_64_kib_of_text() -> None:
    initiator = Initiator()
    text = TEXT + encode_pairs([("X-pad", "x" * (MAX_TEXT - len(TEXT) - 7))])
    for start in range(0, MAX_TEXT - 8192, 8192):
        reply = initiator.send(csg=OPERATIONAL, more=True, raw=text[start : start + 8192])
        assert reply.state is LoginState.CONTINUE
    assert initiator.send(csg=OPERATIONAL, raw=text[-8192:]).state is LoginState.CONTINUE
    assert status(initiator.send([("X-b", "")], csg=OPERATIONAL)) == 0x0200


@pytest.mark.conformance("LGN-017")
@pytest.mark.conformance("NEG-018")
def test_a_long_answer_leaves_in_parts_and_the_last_one_moves_on() -> None:
    initiator = Initiator()
    unknown = [(f"X-{n}", "") for n in range(1000)]
    assert len(encode_pairs([*NAMES, *unknown])) <= 8192
    reply = initiator.send([*NAMES, *unknown], csg=OPERATIONAL, nsg=FULL_FEATURE)
    text = reply.data
    parts = 1
    while reply.response.continue_:
        assert len(reply.data) == 8192
        assert (reply.response.transit, reply.response.nsg, reply.state) == (0, 0, LoginState.CONTINUE)
        assert not initiator.outcomes
        reply = initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE)
        text += reply.data
        parts += 1
    assert parts == 3
    assert (reply.response.transit, reply.state) == (1, LoginState.ESTABLISHED)
    said = decode_pairs(text)
    assert [pair for pair in said if pair[0].startswith("X-")] == [(k, "NotUnderstood") for k, _ in unknown]


@pytest.mark.conformance("LGN-017")
def test_the_last_part_moves_on_only_if_asked() -> None:
    initiator = Initiator()
    unknown = [(f"X-{n}", "") for n in range(600)]
    reply = initiator.send([*NAMES, *unknown], csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert reply.response.continue_
    last = initiator.send(csg=OPERATIONAL)
    assert (last.response.continue_, last.response.transit) == (0, 0)
    assert initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE).state is LoginState.ESTABLISHED


@pytest.mark.conformance("LGN-017")
@pytest.mark.parametrize(("raw", "more"), [(b"X-late=1\0", False), (b"", True)])
def test_text_while_the_target_still_speaks_is_an_error(raw: bytes, more: bool) -> None:
    initiator = Initiator()
    assert initiator.send([*NAMES, *((f"X-{n}", "") for n in range(600))], csg=OPERATIONAL).response.continue_
    assert status(initiator.send(csg=OPERATIONAL, raw=raw, more=more)) == 0x0200


def _unknown_keys(count: int) -> bytes:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    names = [a + b + c for a in "QZ" for b in alphabet for c in alphabet]
    return b"".join(f"{name}=\0".encode() for name in names[:count])


@pytest.mark.conformance("NEG-006")
def test_thousands_of_tiny_unknown_keys_are_answered_up_to_a_bound() -> None:
    initiator = Initiator()
    text = encode_pairs(NAMES) + _unknown_keys(MAX_KEYS - 2)
    for start in range(0, len(text) - 8192, 8192):
        initiator.send(csg=OPERATIONAL, more=True, raw=text[start : start + 8192])
    reply = initiator.send(csg=OPERATIONAL, raw=text[len(text) // 8192 * 8192 :])
    said = decode_pairs(initiator.whole_answer(reply))
    assert sum(value == "NotUnderstood" for _, value in said) == MAX_KEYS - 2
    assert status(initiator.send([("Zyxw", "")], csg=OPERATIONAL)) == 0x0200


def test_answers_are_bounded_as_text_is() -> None:
    initiator = Initiator()
    text = encode_pairs(NAMES) + b"".join(b"X-%061d=\0" % n for n in range(900))
    assert len(text) < MAX_TEXT
    start = 0
    while len(text) - start > 8192:
        initiator.send(csg=OPERATIONAL, more=True, raw=text[start : start + 8192])
        start += 8192
    assert status(initiator.send(csg=OPERATIONAL, raw=text[start:])) == 0x0200


@pytest.mark.conformance("NEG-037")
def test_answers_have_one_nul_each_and_no_padding() -> None:
    reply = Initiator().send(csg=OPERATIONAL, nsg=FULL_FEATURE, raw=TEXT)
    assert reply.response.data_segment_length == len(reply.data)
    assert reply.data.endswith(b"\0")
    assert b"\0\0" not in reply.data


@pytest.mark.conformance("NEG-032")
def test_an_empty_answer_moves_on_where_it_can() -> None:
    initiator = Initiator()
    initiator.send(NAMES, csg=OPERATIONAL)
    reply = initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert (reply.data, reply.response.transit) == (b"", 1)


@pytest.mark.conformance("SEC-010")
@given(st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 3), st.integers(0, 3), st.booleans())))
def test_no_bytes_raise_an_exception(requests: list[tuple[bytes, int, int, bool]]) -> None:
    initiator = Initiator()
    for data, csg, nsg, more in requests:
        request = LoginRequest(
            csg=csg, nsg=nsg, transit=int(nsg > csg), continue_=int(more), **initiator.header
        )
        reply = initiator.phase.receive(request, data)
        assert reply.response.status_class in (0, 2)
    assert not initiator.outcomes


def test_good_pairs_among_random_bytes_do_not_help() -> None:
    reply = Initiator().send(csg=OPERATIONAL, nsg=FULL_FEATURE, raw=TEXT + b"\xff\xfe=\0")
    assert status(reply) == 0x0200


def test_answers_come_once() -> None:
    initiator = Initiator()
    first = answers(initiator.send([*NAMES, ("MaxBurstLength", "4096")], csg=OPERATIONAL))
    assert first["MaxBurstLength"] == "4096"
    assert answers(initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE)) == {}
