"""QEMU's iSCSI driver (libiscsi) copies a file onto a LUN by one portal and back by the other.

QEMU can switch the header digest and CHAP. libiscsi 1.19 offers no data digest at all, so data digests are
proven with this project's own initiator and tshark (test_tshark_reads_a_session.py).
"""

import hashlib
import random
from pathlib import Path

import pytest

from tools import require_tool

from .harness import MIB, TargetUnderTest
from .libiscsi import inquire
from .processes import Done, run

pytestmark = require_tool("qemu-img", "block-iscsi.so")

INITIATOR = "iqn.2004-09.com.example:qemu"
SECRET = "sixteen-bytes-ab"
AUTHENTICATION_FAILURE = "Authentication failure(513)"
"""How libiscsi words login status 0201h."""


def options(
    target: TargetUnderTest, portal: int, *, digest: str = "none", user: str = "", secret: str = ""
) -> str:
    """QEMU's description of LUN 1."""
    chap = f",user={user},password={secret}" if user else ""
    return (
        f"driver=iscsi,transport=tcp,portal={target.portals[portal]},target={target.target_names[0]},lun=1,"
        f"initiator-name={INITIATOR},header-digest={digest}{chap}"
    )


def copy_in_and_out(there: str, back: str, folder: Path, size: int) -> tuple[str, str]:
    """Copy a random file of `size` bytes to one LUN, and from the other LUN to a file: both checksums."""
    original, returned = folder / "original.img", folder / "returned.img"
    original.write_bytes(random.Random(size).randbytes(size))
    run(
        ["qemu-img", "convert", "-n", "-f", "raw", "--target-image-opts", original, there],
        timeout=60,
        check=True,
    )
    run(["qemu-img", "convert", "--image-opts", "-O", "raw", back, returned], timeout=60, check=True)
    with returned.open("rb") as file:
        received = file.read(size)
    return hashlib.sha256(original.read_bytes()).hexdigest(), hashlib.sha256(received).hexdigest()


def refused(done: Done, because: str) -> None:
    """Assert that QEMU could not open the LUN for that reason."""
    assert done.status != 0, str(done)
    assert because in done.text, str(done)


@pytest.mark.conformance("CLI-006", "DIG-008")
@pytest.mark.parametrize("digest", ["none", "crc32c", "none-crc32c", "crc32c-none"])
def test_a_file_comes_back_unchanged_by_the_other_portal(
    target: TargetUnderTest, tmp_path: Path, digest: str
) -> None:
    there, back = options(target, 0, digest=digest), options(target, 1, digest=digest)
    sent, received = copy_in_and_out(there, back, tmp_path, target.size)
    assert sent == received


def test_the_lun_has_the_size_of_the_disk(target: TargetUnderTest) -> None:
    said = run(["qemu-img", "info", "--output", "json", target.url()], check=True).output
    assert f'"virtual-size": {target.size}' in said


def test_a_file_comes_back_unchanged_with_chap(fresh_target: TargetUnderTest, tmp_path: Path) -> None:
    fresh_target.set_chap(INITIATOR, "qemu", SECRET)
    there = options(fresh_target, 0, user="qemu", secret=SECRET)
    back = options(fresh_target, 1, user="qemu", secret=SECRET, digest="crc32c")
    sent, received = copy_in_and_out(there, back, tmp_path, 8 * MIB)
    assert sent == received


@pytest.mark.conformance("LST-001", "CHP-018")
def test_an_initiator_with_a_secret_is_refused_without_it(fresh_target: TargetUnderTest) -> None:
    fresh_target.set_chap(INITIATOR, "qemu", SECRET)
    for login in ({}, {"user": "qemu", "secret": SECRET + "!"}, {"user": "other", "secret": SECRET}):
        done = run(["qemu-img", "info", "--image-opts", options(fresh_target, 0, **login)])
        refused(done, AUTHENTICATION_FAILURE)
    granted = options(fresh_target, 0, user="qemu", secret=SECRET)
    run(["qemu-img", "info", "--image-opts", granted], check=True)


@pytest.mark.conformance("CHP-001", "CHP-010")
def test_mutual_chap_proves_the_target_to_the_initiator(fresh_target: TargetUnderTest) -> None:
    target_secret = "seventeen-bytes-a"
    fresh_target.set_chap(INITIATOR, "qemu", SECRET, target_user="array", target_secret=target_secret)
    url = fresh_target.url(user="qemu", secret=SECRET)
    right = f"{url}?target_user=array&target_password={target_secret}"
    assert inquire(right, initiator=INITIATOR).status == 0
    wrong = f"{url}?target_user=array&target_password={target_secret}!"
    refused(inquire(wrong, initiator=INITIATOR), "Authentication failed")


@pytest.mark.conformance("LST-001")
def test_a_target_that_does_not_exist_is_not_found(target: TargetUnderTest) -> None:
    url = f"iscsi://{target.portals[0]}/iqn.2004-09.com.example:nobody/1"
    refused(run(["qemu-img", "info", url]), "Target not found(515)")
