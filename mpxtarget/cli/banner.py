"""What `mpxtarget serve` says when it has started: what there is, and what to type on a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mpxtarget.array.identity import dashed
from mpxtarget.array.models import MODELS
from mpxtarget.bridge.portals import format_address, is_wildcard, parse_advertise
from mpxtarget.cli.output import printable, size, table

if TYPE_CHECKING:
    from mpxtarget.server.state import PortalRecord, State

ANY_ADDRESS = "ADDRESS-OF-THIS-MACHINE"
WINDOWS_TARGETS = 2  # one on each controller; the others are logged in to in the same way


def banner(state: State, addresses: Mapping[int, tuple[str, int]], targets: Sequence[str]) -> str:
    """The whole text.  `addresses` is where the open portals listen."""
    array = state.array()
    portals = {record.id: record for record in state.list_portals()}
    reached = [_reached(portals[key], *address) for key, address in addresses.items() if key in portals]
    luns = [
        (
            record.lun if record.lun is not None else "-",
            record.name,
            size(record.size),
            f"controller {record.controller}",
        )
        for record in state.list_vdisks()
    ]
    half = len(targets) // 2
    masking = "every initiator sees every LUN" if array.policy == "present-all" else "LUNs are masked"
    parts = [
        f"{printable(array.name)} ({'strict ' if array.strict else ''}{array.model}, "
        f"{MODELS[array.model].marketing}), "
        f"node WWN {dashed(array.node_wwn)}, {masking}",
        _block(
            "Portals",
            [format_address(*address) for address in addresses.values()],
            "none: mpxtarget portal add ADDRESS",
        ),
        _block("Targets", targets, "none"),
        _block("LUNs", _lines(luns), "none yet: mpxtarget lun create data --size 10G"),
    ]
    if reached:
        product = f"{'HP':8}{array.model:16}"
        parts.append(_windows(reached, [targets[0], targets[half]] if half else list(targets), product))
        parts.append(_linux(reached[0]))
    parts.append("`mpxtarget status` shows who is logged in; Ctrl-C stops.")
    return "\n\n".join(parts)


def _reached(record: PortalRecord, address: str, port: int) -> tuple[str, int]:
    """Host and port by which a host reaches a portal."""
    if record.advertise is not None:
        host, advertised_port = parse_advertise(record.advertise)
        return host, port if advertised_port is None else advertised_port
    return (ANY_ADDRESS if is_wildcard(address) else address), port


def _lines(rows: Sequence[tuple[object, ...]]) -> list[str]:
    return table(("LUN", "NAME", "SIZE", "MANAGED BY"), rows).splitlines() if rows else []


def _block(name: str, lines: Sequence[str], empty: str) -> str:
    return "\n".join([name, *(f"  {line}" for line in lines or [empty])])


def _windows(portals: Sequence[tuple[str, int]], targets: Sequence[str], product: str) -> str:
    lines = [
        "ServerManagerCmd -install Multipath-IO",
        f'mpclaim -r -i -d "{product}"                  (restarts the host)',
        *(f"iscsicli AddTargetPortal {host} {port}" for host, port in portals),
    ]
    for target in targets:
        for host, port in portals:
            # ReportToPNP, portal; initiator instance and port, security flags; 0x2: multipath enabled;
            # digests, connections, times, user, password, authentication, key; no mappings.
            lines.append(f"iscsicli LoginTarget {target} T {host} {port} * * * 0x2 * * * * * * * * * 0")
    lines.append(
        "mpclaim -s -d                              (the disks; mpclaim -s -d 0 shows the paths of one)"
    )
    return _block("On a Windows Server 2008 host, in a command prompt of an administrator", lines, "")


def _linux(portal: tuple[str, int]) -> str:
    lines = [
        f"iscsiadm -m discovery -t sendtargets -p {format_address(*portal)}",
        "iscsiadm -m node --login                   (every target, through every portal)",
        "multipath -ll                              (needs multipathd running)",
    ]
    return _block("On a Linux host, as root (open-iscsi, multipath-tools)", lines, "")
