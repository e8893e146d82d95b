"""The EVA models that can be emulated, as data.

A row is what a host can see of a model: the INQUIRY product and revision, how many host ports each
controller has, and which of HP's two company ids its names begin with. All rows are active/active arrays of
vendor `HP`; the older active/passive ones (HSV100, HSV110) cannot stand behind an mpx100 and are not here.

Where the facts come from: product strings from the device tables of QLogic's and Linux's drivers; revision
0953 (HSV300), 6110 (HSV210) and 1000 (HSV340) from host outputs, the others inferred from the firmware
family of the model (the revision is the leading digits of the XCS or VCS version); company ids from WWNs
and WWLUNs in host outputs.
"""

from dataclasses import dataclass
from typing import Final

VENDOR: Final = "HP"

OUI_COMPAQ_NODE: Final = 0x0001FE
"""In the WWNs of arrays built before the EVA4400 (5000-1FE1-...)."""
OUI_COMPAQ_WWLUN: Final = 0x00508B
"""In WWLUNs of the same generation (6005-08B4-...)."""
OUI_HP: Final = 0x001438
"""In both, from the EVA4400 on (5001-4380-..., 6001-438...)."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the EVA family."""

    product: str
    """INQUIRY product identification, without the padding."""
    revision: str
    """INQUIRY product revision level, 4 characters."""
    marketing: str
    host_ports: int
    """Host ports per controller, 1 to 4."""
    node_oui: int
    wwlun_oui: int


_ROWS: Final = (
    # product  revision marketing name      ports  node WWN         WWLUN
    ("HSV101", "4000", "EVA3000", 2, OUI_COMPAQ_NODE, OUI_COMPAQ_WWLUN),
    ("HSV200", "6110", "EVA4000/EVA6000", 2, OUI_COMPAQ_NODE, OUI_COMPAQ_WWLUN),
    ("HSV210", "6110", "EVA8000", 4, OUI_COMPAQ_NODE, OUI_COMPAQ_WWLUN),
    ("HSV300", "0953", "EVA4400", 2, OUI_HP, OUI_HP),
    ("HSV340", "1000", "P6300", 4, OUI_HP, OUI_HP),
    ("HSV360", "1000", "P6500", 4, OUI_HP, OUI_HP),
    ("HSV400", "0953", "EVA6400", 4, OUI_HP, OUI_HP),
    ("HSV450", "0953", "EVA8400", 4, OUI_HP, OUI_HP),
)

MODELS: Final[dict[str, Model]] = {row[0]: Model(*row) for row in _ROWS}
"""By product string."""

DEFAULT_MODEL: Final = "HSV300"
