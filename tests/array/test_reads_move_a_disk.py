"""A disk moves by itself to the controller by which most of its reads come in, and to no other."""

import itertools
import random
from collections import Counter

import pytest

from bridge.factory import FakeStore, array_record, bridge, login, pending, settled, vdisk_record
from mpxtarget.array.array import Array
from mpxtarget.array.ownership import GROUP_IDS, ImplicitTransition
from mpxtarget.bridge.bridge import Bridge
from mpxtarget.scsi.codes import Asc
from mpxtarget.scsi.nexus import ITNexus

HOUR = 3600.0


class Hosts:
    """An array with one disk at controller A, and a session with a target of each controller."""

    def __init__(self, rule: str = "3600:60:1000") -> None:
        self.bridge: Bridge = bridge(1, implicit_transition=rule)
        self.array: Array = self.bridge.array
        self.by_a, self.by_b = login(self.bridge, target=0), login(self.bridge, target=2)
        self.now = 50.0
        assert self.array.ownership.tick(self.now) == {}

    def read(self, by_a: int, by_b: int) -> None:
        """Hosts read through both controllers."""
        self.by_a.by_number[1].reads += by_a
        self.by_b.by_number[1].reads += by_b

    def window(self, by_a: int = 0, by_b: int = 0, seconds: float = HOUR) -> str:
        """A window with these reads; who manages the disk at its end."""
        self.read(by_a, by_b)
        self.pass_time(seconds)
        return self.owner

    def pass_time(self, seconds: float) -> dict[int, str]:
        """Time passes; what the array says to write down."""
        self.now += seconds
        return dict(self.array.ownership.tick(self.now))

    @property
    def owner(self) -> str:
        return self.array.vdisks[1].record.controller


@pytest.mark.conformance("ALU-009", "ALU-007", "UAT-001")
def test_most_reads_by_the_other_controller_move_the_disk_and_everybody_is_told() -> None:
    hosts = Hosts()
    hosts.read(300, 900)
    assert hosts.pass_time(HOUR - 1) == {}
    assert hosts.owner == "A"
    assert hosts.pass_time(1) == {1: "B"}
    assert hosts.array.vdisks[1].disk.managing_group == GROUP_IDS["B"]
    assert hosts.array.vdisks[1].disk.access_status == 2
    for nexus in (hosts.by_a, hosts.by_b):
        assert pending(nexus) == {1: [Asc.ASYMMETRIC_ACCESS_STATE_CHANGED]}


@pytest.mark.conformance("ALU-009")
@pytest.mark.parametrize(
    ("by_a", "by_b", "owner"),
    [(400, 600, "A"), (399, 601, "B"), (0, 999, "A"), (0, 1000, "B"), (9000, 0, "A")],
)
def test_the_share_has_to_be_more_and_the_reads_enough(by_a: int, by_b: int, owner: str) -> None:
    assert Hosts().window(by_a, by_b) == owner


@pytest.mark.conformance("ALU-009")
def test_only_the_reads_of_one_window_count() -> None:
    hosts = Hosts()
    for _ in range(5):
        assert hosts.window(by_b=999) == "A"
    assert hosts.window(by_a=2000, by_b=2000) == "A"
    assert hosts.window(by_b=1000) == "B"


@pytest.mark.conformance("ALU-009")
def test_a_disk_that_moved_is_counted_anew() -> None:
    hosts = Hosts()
    hosts.read(0, 5000)
    hosts.pass_time(HOUR / 2)
    hosts.array.ownership.trespass(1, "B")
    hosts.array.ownership.trespass(1, "A")
    hosts.pass_time(0)
    assert hosts.window(seconds=HOUR / 2) == "A"
    assert hosts.window(seconds=HOUR / 2) == "A"


@pytest.mark.conformance("ALU-009")
def test_reads_of_nexuses_that_left_count() -> None:
    hosts = Hosts()
    hosts.read(100, 1000)
    hosts.bridge.detach(hosts.by_b)
    again: ITNexus = login(hosts.bridge, target=2, isid=7)
    again.by_number[1].reads += 500
    hosts.pass_time(HOUR)
    assert hosts.owner == "B"


@pytest.mark.conformance("ALU-009")
@pytest.mark.parametrize("in_a_row", [1, 100, 1000])
@pytest.mark.parametrize("paths", ["AB", "AABB", "ABBB", "AAAB"])
def test_round_robin_over_both_controllers_never_moves_it_to_and_fro(paths: str, in_a_row: int) -> None:
    dice = random.Random(42)
    hosts = Hosts("3600:60:10000")
    turns = (path for path in itertools.cycle(paths) for _ in range(in_a_row))
    moves = 0
    for _ in range(20):
        before = hosts.owner
        window = Counter(itertools.islice(turns, dice.randrange(10_000, 15_000)))
        hosts.window(window["A"], window["B"])
        moves += hosts.owner != before
    assert moves == (paths == "ABBB")


@pytest.mark.conformance("ALU-009")
def test_it_can_be_switched_off_and_on_while_it_runs() -> None:
    hosts = Hosts("off")
    assert hosts.array.ownership.next_event() is None
    assert hosts.window(by_b=100_000) == "A"
    hosts.bridge.set_array(array_record(implicit_transition="60:80:10"))
    hosts.pass_time(0)
    assert hosts.array.ownership.next_event() == hosts.now + 60.0
    assert hosts.window(seconds=60.0) == "A"  # what came in before it was on does not count
    assert hosts.window(by_b=20, seconds=60.0) == "B"
    hosts.bridge.set_array(array_record(implicit_transition="off"))
    assert hosts.window(by_a=100_000) == "B"


@pytest.mark.conformance("ALU-009", "ALU-005")
def test_it_takes_the_transition_time_too() -> None:
    hosts = Hosts()
    hosts.bridge.set_array(array_record(transition_time=20, implicit_transition="3600:60:1000"))
    hosts.window(by_b=1000)
    assert hosts.array.vdisks[1].disk.transitioning
    assert not any(pending(nexus) for nexus in (hosts.by_a, hosts.by_b))
    hosts.pass_time(20)
    assert not hosts.array.vdisks[1].disk.transitioning
    assert pending(hosts.by_a) == {1: [Asc.ASYMMETRIC_ACCESS_STATE_CHANGED]}


def test_a_family_moves_by_the_reads_of_all_its_disks() -> None:
    hosts = Hosts()
    hosts.bridge.add_vdisk(vdisk_record(2, controller="A", parent=1, kind="snapshot"), FakeStore())
    hosts.pass_time(0)
    for nexus in (hosts.by_a, hosts.by_b):
        settled(nexus)
    hosts.by_b.by_number[2].reads += 2000
    assert hosts.window(by_a=2000) == "A"
    hosts.by_b.by_number[2].reads += 4000
    assert hosts.window(by_a=2000) == "B"
    assert hosts.array.vdisks[2].record.controller == "B"


def test_nothing_moves_to_a_controller_that_is_out_of_service() -> None:
    hosts = Hosts()
    hosts.read(0, 5000)
    hosts.array.ownership.fail("B")
    assert hosts.window(by_b=5000) == "A"
    assert hosts.window(by_b=5000) == "A"


@pytest.mark.parametrize("text", ["3600:60:1000", "1:55:1", "604800:99:999999999"])
def test_a_rule_is_written_as_it_is_read(text: str) -> None:
    assert str(ImplicitTransition.parse(text)) == text


def test_a_rule_without_a_number_of_reads_has_the_usual_one() -> None:
    assert str(ImplicitTransition.parse("600:75")) == "600:75:10000"
    assert ImplicitTransition.parse("off") is None


@pytest.mark.parametrize(
    "text",
    ["", "on", "3600", "3600:60:", "0:60", "604801:60", "3600:54", "3600:100", "3600:60:0", "-1:60", "1e3:60",
     "3600:60:1:1", "\u0663600:60", " 3600:60", "3600:60\n", "9" * 5000 + ":60"],
)  # fmt: skip
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither|not between|at least"):
        ImplicitTransition.parse(text)
