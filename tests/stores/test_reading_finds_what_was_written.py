"""Whatever is written, discarded and resized in whatever order: each store reads like a byte array."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from stores.helpers import Opener, get, put

BLOCK = 512
BLOCKS = 64

ranges = st.integers(0, BLOCKS - 1).flatmap(lambda at: st.tuples(st.just(at), st.integers(1, BLOCKS - at)))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), ranges, st.integers(1, 255)),
        st.tuples(st.just("discard"), ranges),
        st.tuples(st.just("resize"), st.integers(1, 3 * BLOCKS)),
        st.tuples(st.just("flush")),
    ),
    max_size=12,
)


@given(steps=steps)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_store_reads_like_a_byte_array(open_new: Opener, steps: list[tuple[Any, ...]]) -> None:
    store = open_new(BLOCKS * BLOCK)
    model = bytearray(BLOCKS * BLOCK)
    # A device has contents beyond the part in use, which growing brings back.
    beyond = bytearray(4 * BLOCKS * BLOCK)
    try:
        for step, *arguments in steps:
            if step == "flush":
                store.flush()
            elif step == "resize":
                size = arguments[0] * BLOCK
                store.resize(size)
                if store.url.startswith("block:"):
                    beyond[: len(model)] = model
                    model[:] = beyond[:size]
                else:
                    model[size:] = bytes(max(0, size - len(model)))
            else:
                at, count = arguments[0]
                offset, length = at * BLOCK, min(count * BLOCK, len(model) - at * BLOCK)
                if length <= 0:
                    continue
                if step == "write":
                    data = bytes([arguments[1]]) * length
                    put(store, offset, data)
                else:
                    data = bytes(length)
                    store.discard(offset, length)
                model[offset : offset + length] = data
            assert store.size == len(model)
            assert get(store, 0, len(model)) == model
    finally:
        store.close()


def test_buffers_are_filled_and_written_in_order(open_new: Opener) -> None:
    store = open_new(4096)
    assert not store.read_only
    first, second = memoryview(b"a" * 512), memoryview(b"b" * 1536)
    if not store.write_now((first, second), 1024, 2048):
        store.write(memoryview(bytes(first) + bytes(second)), 1024)
    assert get(store, 0, 4096) == bytes(1024) + b"a" * 512 + b"b" * 1536 + bytes(1024)

    head, tail = bytearray(100), bytearray(924)
    store.read(memoryview(bytearray(4096)), 0)
    if store.read_now((memoryview(head), memoryview(tail)), 1024, 1024):
        assert bytes(head + tail) == b"a" * 512 + b"b" * 512
    store.close()
