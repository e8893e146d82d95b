"""A target in memory for every test here that asks for one."""

from support.fixtures import make_world, world

__all__ = ["make_world", "world"]
