"""An HP EVA disk array behind an mpx100 iSCSI bridge, as one program, for testing storage multipathing."""

__version__ = "0.1.0"
