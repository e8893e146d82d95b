"""Every field lies where RFC 7143 draws it.

The table below was taken from the figures of chapter 11 on its own, so that a slip in a declaration, which
the codec would faithfully copy, shows here: each line gives a field's first byte and, for a whole field, its
length or, for bits, the mask in that byte.
"""

import pytest

from mpxtarget import pdu

I_BIT = "immediate 0&40"
LENGTHS = "total_ahs_length 4:1, data_segment_length 5:3, itt 16:4"
TARGET_NUMBERS = "stat_sn 24:4, exp_cmd_sn 28:4, max_cmd_sn 32:4"
INITIATOR_NUMBERS = "cmd_sn 24:4, exp_stat_sn 28:4"
STAGES = "transit 1&80, continue_ 1&40, csg 1&0C, nsg 1&03"

FIGURES = {
    "NopOut": f"{I_BIT}, final 1&80, {LENGTHS}, lun 8:8, ttt 20:4, {INITIATOR_NUMBERS}",
    "ScsiCommand": f"{I_BIT}, final 1&80, read 1&40, write 1&20, attr 1&07, priority 2&0F, "
    f"{LENGTHS}, lun 8:8, expected_data_transfer_length 20:4, {INITIATOR_NUMBERS}, cdb 32:16",
    "TaskManagementRequest": f"{I_BIT}, final 1&80, function 1&7F, "
    f"{LENGTHS}, lun 8:8, referenced_task_tag 20:4, {INITIATOR_NUMBERS}, ref_cmd_sn 32:4, exp_data_sn 36:4",
    "LoginRequest": f"{I_BIT}, {STAGES}, version_max 2:1, version_min 3:1, {LENGTHS}, "
    f"isid 8:6, tsih 14:2, cid 20:2, {INITIATOR_NUMBERS}",
    "TextRequest": f"{I_BIT}, final 1&80, continue_ 1&40, {LENGTHS}, lun 8:8, ttt 20:4, {INITIATOR_NUMBERS}",
    "DataOut": f"{I_BIT}, final 1&80, {LENGTHS}, lun 8:8, ttt 20:4, exp_stat_sn 28:4, data_sn 36:4, "
    "buffer_offset 40:4",
    "LogoutRequest": f"{I_BIT}, final 1&80, reason 1&7F, {LENGTHS}, cid 20:2, {INITIATOR_NUMBERS}",
    "SnackRequest": f"{I_BIT}, final 1&80, type 1&0F, {LENGTHS}, lun 8:8, ttt 20:4, exp_stat_sn 28:4, "
    "beg_run 40:4, run_length 44:4",
    "NopIn": f"final 1&80, {LENGTHS}, lun 8:8, ttt 20:4, {TARGET_NUMBERS}",
    "ScsiResponse": f"final 1&80, bidi_overflow 1&10, bidi_underflow 1&08, overflow 1&04, underflow 1&02, "
    f"response 2:1, status 3:1, {LENGTHS}, snack_tag 20:4, {TARGET_NUMBERS}, exp_data_sn 36:4, "
    "bidi_residual_count 40:4, residual_count 44:4",
    "TaskManagementResponse": f"final 1&80, response 2:1, {LENGTHS}, {TARGET_NUMBERS}",
    "LoginResponse": f"{STAGES}, version_max 2:1, version_active 3:1, {LENGTHS}, isid 8:6, tsih 14:2, "
    f"{TARGET_NUMBERS}, status_class 36:1, status_detail 37:1",
    "TextResponse": f"final 1&80, continue_ 1&40, {LENGTHS}, lun 8:8, ttt 20:4, {TARGET_NUMBERS}",
    "DataIn": f"final 1&80, acknowledge 1&40, overflow 1&04, underflow 1&02, status_flag 1&01, status 3:1, "
    f"{LENGTHS}, lun 8:8, ttt 20:4, {TARGET_NUMBERS}, data_sn 36:4, buffer_offset 40:4, residual_count 44:4",
    "LogoutResponse": f"final 1&80, response 2:1, {LENGTHS}, {TARGET_NUMBERS}, "
    "time2wait 40:2, time2retain 42:2",
    "R2T": f"final 1&80, {LENGTHS}, lun 8:8, ttt 20:4, {TARGET_NUMBERS}, r2t_sn 36:4, buffer_offset 40:4, "
    "desired_data_transfer_length 44:4",
    "AsyncMessage": f"final 1&80, {LENGTHS}, lun 8:8, {TARGET_NUMBERS}, async_event 36:1, async_vcode 37:1, "
    "parameter1 38:2, parameter2 40:2, parameter3 42:2",
    "Reject": f"final 1&80, reason 2:1, {LENGTHS}, {TARGET_NUMBERS}, data_sn 36:4",
}
OPCODES = {
    "NopOut": 0x00,
    "ScsiCommand": 0x01,
    "TaskManagementRequest": 0x02,
    "LoginRequest": 0x03,
    "TextRequest": 0x04,
    "DataOut": 0x05,
    "LogoutRequest": 0x06,
    "SnackRequest": 0x10,
    "NopIn": 0x20,
    "ScsiResponse": 0x21,
    "TaskManagementResponse": 0x22,
    "LoginResponse": 0x23,
    "TextResponse": 0x24,
    "DataIn": 0x25,
    "LogoutResponse": 0x26,
    "R2T": 0x31,
    "AsyncMessage": 0x32,
    "Reject": 0x3F,
}


def field_masks(figure: str) -> dict[str, bytes]:
    """For each field of a figure the header in which its bits are ones and all others zeros."""
    masks = {}
    for item in figure.split(", "):
        name, place = item.split()
        mask = bytearray(48)
        if "&" in place:
            byte, bits = place.split("&")
            mask[int(byte)] = int(bits, 16)
        else:
            start, length = (int(number) for number in place.split(":"))
            mask[start : start + length] = b"\xff" * length
        masks[name] = bytes(mask)
    return masks


@pytest.mark.conformance("PDU-001")
@pytest.mark.conformance("PDU-004")
@pytest.mark.parametrize("name", FIGURES)
def test_each_field_has_the_bits_of_its_figure(name: str) -> None:
    masks = field_masks(FIGURES[name])
    opcode = bytes([OPCODES[name]]) + bytes(47)
    assert pdu.PDU_CLASSES[OPCODES[name]].__name__ == name
    assert set(pdu.PDU_CLASSES[OPCODES[name]].FIELDS) == set(masks)
    for field, mask in masks.items():
        header = bytes(a | b for a, b in zip(opcode, mask, strict=True))
        parsed = pdu.parse_bhs(header)
        assert parsed.to_bytes() == header, field
        assert [other for other in masks if any(_ones(getattr(parsed, other)))] == [field]


def _ones(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.to_bytes(8, "big")


@pytest.mark.conformance("PDU-015")
def test_tags_that_name_nothing_are_all_ones_unless_given() -> None:
    assert pdu.NopOut().ttt == pdu.DataOut().ttt == pdu.TextRequest().ttt == pdu.NO_TAG
    assert pdu.NopIn().itt == pdu.NopIn().ttt == pdu.AsyncMessage().itt == pdu.Reject().itt == pdu.NO_TAG
    assert pdu.DataIn().ttt == pdu.TaskManagementRequest().referenced_task_tag == pdu.NO_TAG


@pytest.mark.conformance("WRT-006")
def test_byte_1_is_80h_where_the_figure_has_a_one() -> None:
    for header in (
        pdu.R2T(),
        pdu.NopIn(),
        pdu.NopOut(),
        pdu.ScsiResponse(),
        pdu.TaskManagementResponse(),
        pdu.LogoutResponse(),
        pdu.AsyncMessage(),
        pdu.Reject(),
    ):
        assert header.to_bytes()[1] == 0x80
