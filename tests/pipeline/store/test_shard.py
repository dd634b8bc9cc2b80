from __future__ import annotations

import hashlib
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import OutputError, ShardError
from pipeline.store.shard import Pieces, Shard, ShardFolder, encode_shard

TASK = {"method": "ascent", "units": [1, 2]}


@given(
    hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=5)),
    st.lists(st.one_of(st.none(), st.binary(min_size=1, max_size=50)), max_size=6),
)
def test_a_shard_reads_back_as_written(array, chunks):
    pieces = Pieces("u1", (len(chunks), 3), chunks)
    shard = Shard(encode_shard(TASK, {"array": array, "pixels": pieces}, {"halved": 0}), "x")
    assert np.array_equal(shard.array("array"), array, equal_nan=True)
    assert [shard.chunk("pixels", index) for index in range(len(chunks))] == chunks
    assert shard.shape("pixels") == (len(chunks), 3)
    assert shard.task == TASK and shard.facts == {"halved": 0}


@given(st.data())
def test_any_changed_or_missing_byte_is_noticed(data):
    whole = encode_shard(TASK, {"array": np.arange(10)}, {})
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(changed), whole[:at]):
        with pytest.raises(ShardError, match="computed again"):
            Shard(damaged, "x")


def test_folder_tells_present_missing_damaged_and_foreign(tmp_path):
    folder = ShardFolder(tmp_path)
    assert folder.read("ab12", TASK) is None
    folder.write("ab12", encode_shard(TASK, {}, {}))
    assert folder.read("ab12", TASK) is not None
    with pytest.raises(ShardError, match="another task"):
        folder.read("ab12", {"method": "other"})
    folder.path("ab12").write_bytes(b"half")
    with pytest.raises(ShardError, match="not a shard"):
        folder.read("ab12", TASK)
    aside = folder.set_aside("ab12")
    assert aside.read_bytes() == b"half"
    assert folder.read("ab12", TASK) is None


def test_a_result_takes_the_place_of_an_earlier_failure(tmp_path):
    folder = ShardFolder(tmp_path)
    folder.write_reason("ab12", "out of luck")
    assert folder.reason("ab12") == "out of luck"
    folder.write("ab12", encode_shard(TASK, {}, {}))
    assert folder.reason("ab12") is None


def test_an_unwritable_folder_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        ShardFolder(tmp_path / "file").write("ab12", b"")


@pytest.mark.parametrize(
    "header",
    [
        b"", b"[" * 100_000, b"[]", b"{}", b"\xff", b'{"task": {}, "facts": {}, "arrays": {"a": 3}}',
        *(
            json.dumps({"task": {}, "facts": {}, "arrays": {"a": entry}}).encode()
            for entry in (
                {"dtype": "O", "shape": [1], "form": "whole", "spans": [[0, 1]]},
                {"dtype": "(", "shape": [1], "form": "whole", "spans": [[0, 1]]},
                {"dtype": "S0", "shape": [0], "form": "whole", "spans": [[0, 1]]},
                {"dtype": "u1", "shape": [-1], "form": "whole", "spans": [[0, 1]]},
                {"dtype": "u1", "shape": [1], "form": "whole", "spans": [[0, 10**9]]},
                {"dtype": "u1", "shape": [1], "form": "whole", "spans": []},
                {"dtype": "u1", "shape": [1], "form": "odd", "spans": [[0, 1]]},
            )
        ),
    ],
)  # fmt: skip
def test_a_header_that_is_none_is_refused_though_the_digest_is_right(header):
    body = b"ATLASHRD" + len(header).to_bytes(8, "little") + header + b"payload"
    with pytest.raises(ShardError, match="its header is none"):
        Shard(body + hashlib.sha256(body).digest(), "x")


def test_an_array_inflates_to_no_more_than_its_shape():
    bomb = zlib.compress(bytes(10**6))
    entry = {"dtype": "u1", "shape": [3], "form": "whole", "spans": [[0, len(bomb)]]}
    header = json.dumps({"task": {}, "facts": {}, "arrays": {"a": entry}}).encode()
    body = b"ATLASHRD" + len(header).to_bytes(8, "little") + header + bomb
    with pytest.raises(ShardError, match="4 bytes, expected 3"):
        Shard(body + hashlib.sha256(body).digest(), "x").array("a")
