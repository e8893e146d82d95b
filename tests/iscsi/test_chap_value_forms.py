"""CHAP reads names, identifiers and responses in the form that each has, and in no other (RFC 7143 12.1.3).

The cases are those of the newest iscsi-test-cu: targets have read each of them wrongly.
"""

import base64

import pytest
from login_initiator import NAMES, OPERATIONAL, SECRET, Initiator, answers, status

from mpxtarget.iscsi.chap import ChapPolicy, chap_response
from mpxtarget.iscsi.login import LoginReply
from mpxtarget.pdu import parse_binary


class Exchange:
    """A login that has been asked for its response."""

    def __init__(self, policy: ChapPolicy, *, chap_a: str = "5") -> None:
        self.policy = policy
        self.initiator = Initiator(chap=policy)
        self.initiator.send([*NAMES, ("AuthMethod", "CHAP")], nsg=OPERATIONAL)
        self.asked = self.initiator.send([("CHAP_A", chap_a)])

    @property
    def right(self) -> bytes:
        """The response that proves the secret."""
        challenge = answers(self.asked)
        algorithm, identifier = int(challenge["CHAP_A"]), int(challenge["CHAP_I"])
        return chap_response(algorithm, identifier, self.policy.secret, parse_binary(challenge["CHAP_C"]))

    def respond(
        self, *more: tuple[str, str], name: str | None = None, value: str | None = None
    ) -> LoginReply:
        """Prove the name, or something else."""
        return self.initiator.send(
            [
                ("CHAP_N", self.policy.user if name is None else name),
                ("CHAP_R", f"0x{self.right.hex()}" if value is None else value),
                *more,
            ],
            nsg=OPERATIONAL,
        )


@pytest.mark.conformance("CHP-002", "CHP-003")
def test_of_many_algorithms_one_is_chosen_and_proved() -> None:
    exchange = Exchange(ChapPolicy("user", SECRET), chap_a="5,6,7,8")
    assert answers(exchange.asked)["CHAP_A"] == "5"
    assert status(exchange.respond()) == 0


@pytest.mark.conformance("CHP-003")
@pytest.mark.parametrize("chap_a", ["56", "", "5x", "x5", "05", "55", "5 ", " 5", "0x", "5;6"])
def test_an_algorithm_is_not_known_by_a_part_of_its_number(chap_a: str) -> None:
    assert status(Exchange(ChapPolicy("user", SECRET), chap_a=chap_a).asked) == 0x0201


@pytest.mark.conformance("CHP-015", "NEG-008")
@pytest.mark.parametrize("name", ["0x1234", "0X1234", "0b1234", "0BQUJD"])
def test_a_name_that_looks_like_a_binary_value_is_a_name(name: str) -> None:
    assert status(Exchange(ChapPolicy(name, SECRET)).respond()) == 0
    assert status(Exchange(ChapPolicy(name[2:], SECRET)).respond(name=name)) == 0x0201


@pytest.mark.conformance("CHP-006", "CHP-010", "NEG-007")
@pytest.mark.parametrize("identifier", ["90", "0x5a", "0X5A", "0x05a"])
def test_an_identifier_may_be_hexadecimal(identifier: str) -> None:
    exchange = Exchange(ChapPolicy("user", SECRET, "array", b"another secret 1"))
    reply = exchange.respond(("CHAP_I", identifier), ("CHAP_C", "0x0102030405060708"))
    expected = chap_response(5, 0x5A, b"another secret 1", bytes(range(1, 9)))
    assert parse_binary(answers(reply)["CHAP_R"]) == expected


@pytest.mark.conformance("CHP-007", "NEG-008")
@pytest.mark.parametrize("prefix", ["0b", "0B"])
def test_a_response_may_be_base64(prefix: str) -> None:
    exchange = Exchange(ChapPolicy("user", SECRET))
    assert status(exchange.respond(value=prefix + base64.b64encode(exchange.right).decode())) == 0


@pytest.mark.conformance("CHP-007", "CHP-008")
@pytest.mark.parametrize("size", [17, 24, 64, 1024, 1025, 4096])
def test_a_response_that_is_too_long_proves_nothing(size: int) -> None:
    exchange = Exchange(ChapPolicy("user", SECRET))
    too_long = base64.b64encode(exchange.right.ljust(size, b"\0")).decode()
    assert status(exchange.respond(value="0b" + too_long)) in (0x0200, 0x0201)
    assert exchange.initiator.outcomes == []
