"""CHAP responses are hashes over identifier, secret and challenge (RFC 1994, RFC 7143 12.1.3, 9.2.1)."""

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpxtarget.iscsi.chap import (
    ALGORITHMS,
    Chap,
    ChapPolicy,
    Step,
    chap_response,
    check_secret,
    generate_secret,
)
from mpxtarget.iscsi.errors import LoginRejected
from mpxtarget.pdu import format_hex, parse_binary

IDENTIFIER = 0x2A
SECRET = b"sixteen byte key"
OTHER = b"sixteen byte lok"
CHALLENGE = bytes(range(16))
# Computed with the tools of another library over 2a, the secret and 00..0f.
VECTORS = {
    5: "da91354fad776294b2f46a090489c7b1",
    6: "c960c65ab89e7fdc9ef7a51e574ef37362660a0d",
    7: "090479e6e2b041b91b39c151d19536a924077f6131b4bf571307c7763cb235eb",
    8: "b1f61a26a4e8ebe6be471f9973e96a57bfe5088dadbeffacb9b476695cf1e006",
}
ONE_WAY = ChapPolicy("host", SECRET)
MUTUAL = ChapPolicy("host", SECRET, "array", OTHER)


@pytest.mark.conformance("CHP-005")
@pytest.mark.parametrize("algorithm", VECTORS)
def test_fixed_vectors(algorithm: int) -> None:
    assert chap_response(algorithm, IDENTIFIER, SECRET, CHALLENGE).hex() == VECTORS[algorithm]
    assert set(VECTORS) == set(ALGORITHMS)


def entropy(count: int) -> bytes:
    return bytes(range(1, count + 1))


def challenged(policy: ChapPolicy = ONE_WAY, algorithms: str = "5") -> tuple[Chap, dict[str, str]]:
    chap = Chap(policy, entropy)
    return chap, dict(chap.answer({"CHAP_A": algorithms}))


def right(challenge: dict[str, str], secret: bytes = SECRET) -> bytes:
    algorithm, identifier = int(challenge["CHAP_A"]), int(challenge["CHAP_I"])
    return chap_response(algorithm, identifier, secret, parse_binary(challenge["CHAP_C"]))


def refusal(chap: Chap, keys: dict[str, str]) -> int:
    with pytest.raises(LoginRejected) as rejected:
        chap.answer(keys)
    assert chap.step is not Step.DONE
    return rejected.value.status


ENCODINGS: dict[str, Callable[[bytes], str]] = {
    "lower case hex": lambda value: "0x" + value.hex(),
    "upper case hex": lambda value: "0X" + value.hex().upper(),
    "base64": lambda value: "0b" + base64.b64encode(value).decode(),
    "base64, capital B": lambda value: "0B" + base64.b64encode(value).decode(),
}


@pytest.mark.conformance("CHP-007")
@pytest.mark.conformance("NEG-008")
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("algorithm", VECTORS)
def test_a_response_may_be_hex_or_base64(encoding: str, algorithm: int) -> None:
    chap, challenge = challenged(algorithms=str(algorithm))
    assert chap.answer({"CHAP_N": "host", "CHAP_R": ENCODINGS[encoding](right(challenge))}) == []
    assert chap.step is Step.DONE


@pytest.mark.conformance("CHP-007")
@pytest.mark.conformance("CHP-001")
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("length", [1, 2, 16, 255, 256, 1023, 1024])
def test_a_challenge_of_the_initiator_has_1_to_1024_bytes(encoding: str, length: int) -> None:
    theirs = bytes(n & 0xFF for n in range(7, 7 + length))
    chap, challenge = challenged(MUTUAL)
    keys = {"CHAP_N": "host", "CHAP_R": format_hex(right(challenge)), "CHAP_I": "0xFF"}
    said = dict(chap.answer(keys | {"CHAP_C": ENCODINGS[encoding](theirs)}))
    assert said == {"CHAP_N": "array", "CHAP_R": format_hex(chap_response(5, 255, OTHER, theirs))}


@pytest.mark.conformance("CHP-006")
@pytest.mark.conformance("CHP-007")
@pytest.mark.parametrize(
    ("identifier", "challenge"),
    [
        ("256", "0x01"),
        ("-1", "0x01"),
        ("x", "0x01"),
        ("1", "0x" + "00" * 1025),
        ("1", "0x"),
        ("1", ""),
        ("1", "12"),
    ],
)
def test_a_challenge_that_is_none_is_an_error(identifier: str, challenge: str) -> None:
    chap, ours = challenged(MUTUAL)
    keys = {"CHAP_N": "host", "CHAP_R": format_hex(right(ours)), "CHAP_I": identifier, "CHAP_C": challenge}
    assert refusal(chap, keys) == 0x0200


@pytest.mark.conformance("CHP-010")
@pytest.mark.parametrize("alone", [{"CHAP_I": "1"}, {"CHAP_C": "0x01"}])
def test_identifier_and_challenge_come_together(alone: dict[str, str]) -> None:
    chap, ours = challenged(MUTUAL)
    assert refusal(chap, {"CHAP_N": "host", "CHAP_R": format_hex(right(ours))} | alone) == 0x0200


@pytest.mark.conformance("CHP-010")
def test_one_way_is_enough_if_the_initiator_does_not_ask_for_more() -> None:
    chap, ours = challenged(MUTUAL)
    assert chap.answer({"CHAP_N": "host", "CHAP_R": format_hex(right(ours))}) == []


@pytest.mark.conformance("CHP-006")
def test_our_challenge_has_one_byte_and_32_bytes() -> None:
    _, challenge = challenged()
    assert 0 <= int(challenge["CHAP_I"]) <= 255
    assert len(parse_binary(challenge["CHAP_C"])) == 32


@pytest.mark.conformance("CHP-002")
@pytest.mark.conformance("CHP-003")
@pytest.mark.parametrize(
    ("offer", "chosen"), [("5", "5"), ("7,5", "7"), ("8,7,6,5", "8"), ("99,x,,6", "6"), ("0x5", "5")]
)
def test_the_first_algorithm_counts_that_we_know(offer: str, chosen: str) -> None:
    assert challenged(algorithms=offer)[1]["CHAP_A"] == chosen


@pytest.mark.conformance("CHP-003")
@pytest.mark.parametrize("offer", ["", "4", "128", "MD5", "-5", "05", "None"])
def test_without_an_algorithm_in_common_authentication_fails(offer: str) -> None:
    assert refusal(Chap(ONE_WAY, entropy), {"CHAP_A": offer}) == 0x0201


@pytest.mark.conformance("CHP-008")
@pytest.mark.parametrize("algorithm", VECTORS)
def test_a_response_of_another_length_is_wrong(algorithm: int) -> None:
    chap, challenge = challenged(algorithms=str(algorithm))
    response = right(challenge)
    for wrong in (response[:-1], response + b"\0", b"\0" + response, b"\0", bytes(1024), bytes(5000)):
        assert refusal(chap, {"CHAP_N": "host", "CHAP_R": format_hex(wrong)}) == 0x0201


@pytest.mark.conformance("CHP-008")
@pytest.mark.parametrize("value", ["", "0x", "0b", "0xzz", "0b===", "12345", "secret", "0x" + "g" * 32])
def test_a_response_that_is_no_binary_value_is_wrong(value: str) -> None:
    chap, _ = challenged()
    assert refusal(chap, {"CHAP_N": "host", "CHAP_R": value}) == 0x0201


@pytest.mark.conformance("CHP-008")
@given(st.text(), st.text())
def test_no_name_and_no_response_raise_an_exception(name: str, value: str) -> None:
    chap, _ = challenged()
    assert refusal(chap, {"CHAP_N": name, "CHAP_R": value}) == 0x0201


@pytest.mark.conformance("LGN-046")
@pytest.mark.conformance("CHP-015")
@pytest.mark.parametrize("name", ["", "Host", "host ", "array", "h" * 300])
def test_the_name_has_to_be_the_one_of_this_initiator(name: str) -> None:
    chap, challenge = challenged(MUTUAL)
    assert refusal(chap, {"CHAP_N": name, "CHAP_R": format_hex(right(challenge))}) == 0x0201


@pytest.mark.conformance("CHP-011")
def test_our_own_challenge_is_not_answered() -> None:
    chap, challenge = challenged(MUTUAL)
    keys = {
        "CHAP_N": "host",
        "CHAP_R": format_hex(right(challenge)),
        "CHAP_I": "1",
        "CHAP_C": challenge["CHAP_C"],
    }
    assert refusal(chap, keys) == 0x0201


@pytest.mark.conformance("CHP-012")
def test_a_response_that_we_would_give_is_not_taken() -> None:
    chap, challenge = challenged(MUTUAL)
    assert refusal(chap, {"CHAP_N": "host", "CHAP_R": format_hex(right(challenge, OTHER))}) == 0x0201


@pytest.mark.conformance("CHP-012")
def test_equal_secrets_never_authenticate_even_if_they_slipped_in() -> None:
    policy = ChapPolicy("host", SECRET, "array", OTHER)
    object.__setattr__(policy, "target_secret", SECRET)
    chap, challenge = challenged(policy)
    assert refusal(chap, {"CHAP_N": "host", "CHAP_R": format_hex(right(challenge))}) == 0x0201


@pytest.mark.conformance("CHP-009")
def test_an_initiator_that_failed_gets_no_response_of_ours() -> None:
    chap, _ = challenged(MUTUAL)
    keys = {"CHAP_N": "host", "CHAP_R": "0x00", "CHAP_I": "1", "CHAP_C": "0x01"}
    assert refusal(chap, keys) == 0x0201
    assert chap.step is Step.RESPONSE


@pytest.mark.conformance("CHP-013")
def test_both_directions_need_secrets_of_their_own() -> None:
    with pytest.raises(ValueError, match="differ"):
        ChapPolicy("host", SECRET, "array", SECRET)


@pytest.mark.parametrize(
    ("user", "secret", "target_user"), [("", SECRET, ""), ("host", b"", ""), ("host", SECRET, "")]
)
def test_half_a_policy_is_refused(user: str, secret: bytes, target_user: str) -> None:
    with pytest.raises(ValueError, match=r"CHAP|target"):
        ChapPolicy(user, secret, target_user, OTHER)


@pytest.mark.conformance("CHP-014")
def test_short_secrets_are_refused_unless_they_are_wanted() -> None:
    for secret in (b"12 bytes-ok!", bytes(16), bytes(range(256))[:255]):
        check_secret(secret)
    with pytest.raises(ValueError, match="12"):
        check_secret(b"eleven byte")
    check_secret(b"eleven byte", allow_short=True)
    for secret in (b"", bytes(256)):
        with pytest.raises(ValueError, match="secret"):
            check_secret(secret, allow_short=True)


@pytest.mark.conformance("CHP-014")
def test_generated_secrets_suit_everybody() -> None:
    secret = generate_secret(entropy)
    assert (len(secret), secret.isascii()) == (16, True)
    assert base64.urlsafe_b64decode(secret) == entropy(12)


@pytest.mark.conformance("CHP-017")
def test_secrets_are_in_no_text_of_ours() -> None:
    assert "sixteen" not in repr(MUTUAL)
    chap, challenge = challenged(MUTUAL)
    assert "sixteen" not in repr(chap)
    with pytest.raises(LoginRejected) as rejected:
        chap.answer({"CHAP_N": "host", "CHAP_R": "0x0123456789"})
    assert "0123" not in str(rejected.value)
    assert challenge["CHAP_C"][2:] not in str(rejected.value)
    with pytest.raises(ValueError, match="differ") as error:
        ChapPolicy("host", SECRET, "array", SECRET)
    assert "sixteen" not in str(error.value)
