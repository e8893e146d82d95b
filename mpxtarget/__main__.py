"""`python -m mpxtarget`."""

from mpxtarget.cli import main

main()
