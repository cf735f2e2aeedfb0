"""Safe reading of weights: good folders in every layout, and hostile ones, each refused."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from dllm_audio.errors import CheckpointError, UnsafeCheckpointError
from dllm_audio.weights import (
    check_tensors,
    find_weight_files,
    iter_weights,
    read_json,
    read_pickle,
    resolve_directory,
)

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(3, dtype=torch.int64),
    "c": torch.ones(4, dtype=torch.bfloat16),
    "d": torch.zeros(0, 3),
}
INDEX = "model.safetensors.index.json"
SHARDS = {"model-00001-of-00002.safetensors": "ab", "model-00002-of-00002.safetensors": "cd"}


def write_shards(root: Path, **entries: str) -> Path:
    """Two shards and their index; ``entries`` change the index."""
    root.mkdir(exist_ok=True)
    for file, names in SHARDS.items():
        save_file({name: TENSORS[name] for name in names}, root / file)
    weight_map = {name: file for file, names in SHARDS.items() for name in names}
    (root / INDEX).write_text(json.dumps({"weight_map": {**weight_map, **entries}}))
    return root


def write_raw(path: Path, header: bytes, data: bytes = b"", length: int | None = None) -> None:
    """A safetensors file byte by byte."""
    claimed = len(header) if length is None else length
    path.write_bytes(struct.pack("<Q", claimed) + header + data)


def assert_equal(read: dict[str, torch.Tensor]) -> None:
    assert read.keys() == TENSORS.keys()
    for name, tensor in read.items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name])


def single(root: Path) -> None:
    save_file(TENSORS, root / "model.safetensors")


def other_name(root: Path) -> None:
    save_file(TENSORS, root / "weights.safetensors")


def shards_without_index(root: Path) -> None:
    write_shards(root)
    (root / INDEX).unlink()


def single_beside_another_precision(root: Path) -> None:
    single(root)
    save_file({"x": torch.ones(1)}, root / "model.fp32-00001-of-00002.safetensors")
    (root / "model.safetensors.index.fp32.json").write_text("{}")


@pytest.mark.parametrize(
    "write",
    [single, other_name, write_shards, shards_without_index, single_beside_another_precision],
)
def test_every_layout_gives_the_same_tensors(tmp_path, write):
    write(tmp_path)
    assert_equal(dict(iter_weights(tmp_path)))


def test_one_file(tmp_path):
    single(tmp_path)
    assert_equal(dict(iter_weights(tmp_path / "model.safetensors")))


def test_wanted_names_only(tmp_path):
    read = dict(iter_weights(write_shards(tmp_path), wanted={"a", "d"}.__contains__))
    assert sorted(read) == ["a", "d"]


def test_weights_do_not_stay_tied_to_the_file(tmp_path):
    """Saving over the file that a model was loaded from must not reach into the model."""
    single(tmp_path)
    read = dict(iter_weights(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert_equal(read)


def test_hub_cache_links_are_read(tmp_path):
    cache = tmp_path / "models--org--name"
    blobs, snapshot = cache / "blobs", cache / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    save_file(TENSORS, blobs / "0f")
    os.symlink("../../blobs/0f", snapshot / "model.safetensors")
    assert_equal(dict(iter_weights(snapshot)))


# Faults of a folder of safetensors: what is done to it, and what the error names.


def truncated(cut: int) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        file = root / next(iter(SHARDS))
        content = file.read_bytes()
        file.write_bytes(content[:cut] if cut >= 0 else content[: len(content) + cut])

    return spoil


def link_out(root: Path) -> None:
    outside = root.parent / "outside.safetensors"
    (root / next(iter(SHARDS))).rename(outside)
    os.symlink(outside, root / next(iter(SHARDS)))


def dangling_link(root: Path) -> None:
    (root / next(iter(SHARDS))).unlink()
    os.symlink(root / "nothing", root / next(iter(SHARDS)))


def folder_for_a_shard(root: Path) -> None:
    (root / next(iter(SHARDS))).unlink()
    (root / next(iter(SHARDS))).mkdir()


def pipe_for_a_shard(root: Path) -> None:
    (root / next(iter(SHARDS))).unlink()
    os.mkfifo(root / next(iter(SHARDS)))


def secret_beside(name: str) -> Callable[[Path], None]:
    """An index that points at a good file which it must not reach."""

    def spoil(root: Path) -> None:
        save_file({"a": TENSORS["a"]}, root.parent / "secret.safetensors")
        (root / "sub").mkdir()
        save_file({"a": TENSORS["a"]}, root / "sub" / "inner.safetensors")
        write_shards(root, a=name.format(root=root))

    return spoil


def index_text(text: str) -> Callable[[Path], None]:
    return lambda root: (root / INDEX).write_text(text) and None


def header(content: object, data: bytes = b"\0" * 8, scale: float = 1) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        length = None if scale == 1 else int(len(raw) * scale)
        write_raw(root / next(iter(SHARDS)), raw, data, length)

    return spoil


def entry(**change: object) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **change}}


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty file": (truncated(0), "not a whole safetensors file"),
    "half a length": (truncated(5), "not a whole safetensors file"),
    "half a header": (truncated(40), "not a whole safetensors file"),
    "a byte short": (truncated(-1), "not a whole safetensors file"),
    "header ten times too long": (header(entry(), scale=10), "not a whole safetensors file"),
    "header of 2**63 bytes": (header(entry(), scale=2.0**57), "not a whole safetensors file"),
    "header is no JSON": (header(b"{" * 64), "not a whole safetensors file"),
    "header is no object": (header([1, 2]), "not a whole safetensors file"),
    "data beyond the file": (
        header(entry(shape=[2**40], data_offsets=[0, 2**42])),
        "not a whole safetensors file",
    ),
    "shape contradicts offsets": (header(entry(shape=[3])), "not a whole safetensors file"),
    "shape overflows": (header(entry(shape=[2**62, 8])), "not a whole safetensors file"),
    "negative offsets": (header(entry(data_offsets=[-8, 0])), "not a whole safetensors file"),
    "unknown dtype": (header(entry(dtype="F31")), "not a whole safetensors file"),
    "bytes that belong to no tensor": (
        header(entry(), data=b"\0" * 16),
        "not a whole safetensors file",
    ),
    "missing shard": (
        lambda root: (root / next(iter(SHARDS))).unlink(),
        "model-00001-of-00002.safetensors is missing",
    ),
    "shard is a folder": (folder_for_a_shard, "expected a file"),
    "shard is a pipe": (pipe_for_a_shard, "expected a file"),
    "dangling link": (dangling_link, "is missing"),
    "link out of the folder": (link_out, "outside its folder"),
    "index climbs out": (secret_beside("../secret.safetensors"), "plain name"),
    "index climbs out, other slash": (secret_beside("..\\secret.safetensors"), "plain name"),
    "absolute path": (secret_beside("{root}/../secret.safetensors"), "plain name"),
    "drive letter": (secret_beside("C:secret.safetensors"), "plain name"),
    "subfolder": (secret_beside("sub/inner.safetensors"), "plain name"),
    "zero byte in a name": (secret_beside("secret\0.safetensors"), "plain name"),
    "pickle as a shard": (secret_beside("pytorch_model.bin"), "plain name"),
    "shard name is a number": (
        index_text('{"weight_map": {"a": 1}}'),
        "expected a file name, got 1",
    ),
    "index without map": (index_text("{}"), "weight_map"),
    "index is no object": (index_text("[]"), "expected a JSON object"),
    "index is cut": (index_text('{"weight_map": {"a'), "not readable as JSON"),
    "index with a key twice": (
        index_text('{"weight_map": {"a": "x", "a": "y"}}'),
        "a key comes twice",
    ),
    "index nested without end": (index_text("[" * 100_000), "not readable as JSON"),
    "index names a tensor that is nowhere": (
        lambda root: write_shards(root, ghost=next(iter(SHARDS))),
        "ghost",
    ),
    "index names the wrong shard": (lambda root: write_shards(root, a=list(SHARDS)[1]), "on: a"),
    "a tensor in two shards": (
        lambda root: save_file({"a": TENSORS["a"]}, root / list(SHARDS)[1]),
        "a is also in",
    ),
    "two indices": (lambda root: (root / f"x.{INDEX}").write_text("{}"), "several weight indices"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoilt_folder_is_refused(tmp_path, fault):
    spoil, names = FAULTS[fault]
    root = write_shards(tmp_path / "checkpoint")
    spoil(root)
    with pytest.raises(CheckpointError, match=names):
        dict(iter_weights(root))


UNSAFE = ("link out", "index climbs", "absolute", "drive", "subfolder", "zero byte", "pickle as")


def test_reaching_outside_is_told_apart(tmp_path):
    """Whoever catches ``UnsafeCheckpointError`` gets every attempt, and nothing else."""
    for i, (fault, (spoil, _)) in enumerate(FAULTS.items()):
        (tmp_path / str(i)).mkdir()
        root = write_shards(tmp_path / str(i) / "checkpoint")
        spoil(root)
        with pytest.raises(CheckpointError) as caught:
            dict(iter_weights(root))
        assert isinstance(caught.value, UnsafeCheckpointError) == fault.startswith(UNSAFE), fault


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ([], "holds no safetensors"),
        (["a.safetensors", "b.safetensors"], "several weight files and no index"),
        (["m-00001-of-00003.safetensors", "m-00003-of-00003.safetensors"], "m-00002-of-00003"),
        (["m-00001-of-00001.safetensors", "n-00001-of-00001.safetensors"], "several sets"),
    ],
)
def test_folders_whose_weights_are_unclear(tmp_path, files, names):
    for file in files:
        save_file(TENSORS, tmp_path / file)
    with pytest.raises(CheckpointError, match=names):
        find_weight_files(tmp_path)


@given(st.data())
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_damaged_bytes_never_raise_anything_else(tmp_path, data):
    kind = data.draw(st.sampled_from(["safetensors", "pickle", "old pickle"]))
    file = tmp_path / "weights"
    if kind == "safetensors":
        save_file(TENSORS, file)
    else:
        torch.save(TENSORS, file, _use_new_zipfile_serialization=kind == "pickle")
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with contextlib.suppress(CheckpointError):
        if kind == "safetensors":
            dict(iter_weights(file))
        else:
            check_tensors(file, read_pickle(file, unusual_container=True))


class RunsCode:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


class Harmless:
    """An ordinary object: code too, as far as a checkpoint is concerned."""


def compressed(path: Path) -> None:
    torch.save({"a": torch.zeros(1 << 20)}, path)
    with zipfile.ZipFile(path) as reader:
        entries = {name: reader.read(name) for name in reader.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, content in entries.items():
            writer.writestr(name, content)


PICKLE_FAULTS: dict[str, tuple[Callable[[Path], object], str, bool]] = {
    # name: (how it is written, what the error names, refused with unsafe_pickle=True too)
    "code in a tensor file": (
        lambda path: torch.save({"a": TENSORS["a"], "b": RunsCode(path.parent / "ran")}, path),
        "other than plain tensors",
        True,
    ),
    "code in the old format": (
        lambda path: torch.save(
            {"b": RunsCode(path.parent / "ran")}, path, _use_new_zipfile_serialization=False
        ),
        "not an archive",
        True,
    ),
    "code in a bare pickle": (
        lambda path: path.write_bytes(pickle.dumps(RunsCode(path.parent / "ran"))),
        "not an archive",
        True,
    ),
    "an object of a class": (
        lambda path: torch.save({"a": Harmless()}, path),
        "other than plain tensors",
        True,
    ),
    "a whole module": (
        lambda path: torch.save(torch.nn.Linear(1, 1), path),
        "other than plain tensors",
        True,
    ),
    "old format": (
        lambda path: torch.save(TENSORS, path, _use_new_zipfile_serialization=False),
        "not an archive",
        False,
    ),
    "compressed archive": (compressed, "compressed", False),
    "empty": (lambda path: path.write_bytes(b""), "not an archive", True),
    "text": (lambda path: path.write_text("hello"), "not an archive", True),
    "an archive of something else": (
        lambda path: zipfile.ZipFile(path, "w").writestr("x", "y"),
        "damaged, cannot be read",
        True,
    ),
}


@pytest.mark.parametrize("fault", PICKLE_FAULTS)
def test_a_hostile_pickle_is_refused_and_never_runs(tmp_path, fault):
    write, names, always = PICKLE_FAULTS[fault]
    path = tmp_path / "weights.bin"
    write(path)
    with pytest.raises(CheckpointError, match=names):
        read_pickle(path)
    if always:
        with pytest.raises(CheckpointError):
            read_pickle(path, unusual_container=True)
    else:
        check_tensors(path, read_pickle(path, unusual_container=True))
    assert not (tmp_path / "ran").exists()


def test_the_hostile_pickle_is_hostile(tmp_path):
    """Plain unpickling does run it, so that the test above can fail."""
    pickle.loads(pickle.dumps(RunsCode(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        [TENSORS["a"]],
        TENSORS["a"],
        {},
        {"a": {"b": TENSORS["a"]}},
        {"a": 1},
        {1: TENSORS["a"]},
        {"a": torch.ones(2, device="meta")},
        {"a": torch.eye(2).to_sparse()},
    ],
)
def test_anything_but_named_dense_tensors_is_refused(tmp_path, content):
    path = tmp_path / "weights.bin"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="expected"):
        check_tensors(path, read_pickle(path))


def test_read_pickle_reads_what_torch_writes(tmp_path):
    torch.save(TENSORS, tmp_path / "weights.bin")
    assert_equal(check_tensors("x", read_pickle(tmp_path / "weights.bin")))


def test_resolve_directory(tmp_path, monkeypatch):
    assert resolve_directory(tmp_path) == tmp_path
    assert resolve_directory(str(tmp_path)) == tmp_path
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"nothing-at-all-here: .*pass a local directory"):
        resolve_directory("no-one/nothing-at-all-here")
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)  # whatever lies beside the repository
    for bad in (tmp_path / "missing", "a/b/c", "../x", "", "a b", tmp_path / "file"):
        with pytest.raises(CheckpointError, match="expected a directory or a hub id"):
            resolve_directory(bad)


def test_read_json_refuses_giant_files(tmp_path):
    with open(tmp_path / "config.json", "wb") as file:
        file.truncate(2**30)
    with pytest.raises(CheckpointError, match="larger than"):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": torch.ones(1).expand(3 * 10**8)},
        {"a": torch.ones(9), "b": torch.ones(1, 3).expand(10**12, 3)},
        {"a": torch.ones(1).expand(0), "b": torch.ones(8).as_strided((10**6, 8), (0, 1))},
        {str(number): large for large in [torch.ones(10**5)] for number in range(10**4)},
    ],
)
def test_tensors_that_claim_more_than_is_stored_are_refused(tensors, tmp_path) -> None:
    torch.save(tensors, tmp_path / "w.bin")
    assert (tmp_path / "w.bin").stat().st_size < 10**7
    with pytest.raises(CheckpointError, match=r"w\.bin: its tensors claim \d+ bytes and store \d+"):
        check_tensors(tmp_path / "w.bin", read_pickle(tmp_path / "w.bin"))


def test_two_names_of_a_tensor_and_views_are_read(tmp_path) -> None:
    base = torch.randn(4, 4)
    tensors = {"a": base, "b": base, "c": base.T, "d": base[1:, ::2], "e": torch.ones(0, 9)}
    torch.save(tensors, tmp_path / "w.bin")
    found = check_tensors(tmp_path / "w.bin", read_pickle(tmp_path / "w.bin"))
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
