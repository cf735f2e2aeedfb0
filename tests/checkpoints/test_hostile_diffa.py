"""Hostile published folders are refused as a whole, before anything of them acts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import published_layouts as layouts
import pytest
import torch
from safetensors.torch import save_file

from dllm_audio import load_diffa
from dllm_audio.errors import CheckpointError, UnsafeCheckpointError


class RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def _ran(root: Path) -> Path:
    return root.parent / "ran"


def code_in_the_pickle(root: Path) -> None:
    tensors = {**layouts.adapter_tensors(), "x": RunsCode(_ran(root))}
    torch.save(tensors, root / "pytorch_model.bin")


def code_under_the_safetensors_name(root: Path) -> None:
    (root / "pytorch_model.bin").unlink()
    torch.save({"x": RunsCode(_ran(root))}, root / "model.safetensors")


def code_in_the_folder(root: Path) -> None:
    """Remote code in the way transformers finds it; it has to stay a dead letter."""
    config = layouts.config()
    config["auto_map"] = {"AutoConfig": "evil.C", "AutoModel": "evil.M"}
    layouts.write_json(root / "config.json", config)
    (root / "evil.py").write_text(f"open({str(_ran(root))!r}, 'w')")
    (root / "pytorch_model.bin").unlink()


def truncated_pickle(root: Path) -> None:
    file = root / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:-100])


def half_a_pickle(root: Path) -> None:
    file = root / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def pickle_linked_out(root: Path) -> None:
    (root / "pytorch_model.bin").rename(root.parent / "outside.bin")
    os.symlink(root.parent / "outside.bin", root / "pytorch_model.bin")


def stage_1_linked_out(root: Path) -> None:
    (root / "stage1").rename(root.parent / "elsewhere")
    os.symlink(root.parent / "elsewhere", root / "stage1")


def config_linked_out(root: Path) -> None:
    (root / "config.json").rename(root.parent / "outside.json")
    os.symlink(root.parent / "outside.json", root / "config.json")


def pickle_is_a_folder(root: Path) -> None:
    (root / "pytorch_model.bin").unlink()
    (root / "pytorch_model.bin").mkdir()


def no_weights(root: Path) -> None:
    (root / "pytorch_model.bin").unlink()


def no_config(root: Path) -> None:
    (root / "config.json").unlink()


def config_is_cut(root: Path) -> None:
    (root / "config.json").write_text('{"prompt_size": 6')


def index_climbs_out(root: Path) -> None:
    save_file(layouts.adapter_tensors(), root.parent / "a.safetensors")
    names = dict.fromkeys(layouts.adapter_tensors(), "../a.safetensors")
    layouts.write_json(root / "model.safetensors.index.json", {"weight_map": names})


def tensors_of_another_dtype(root: Path) -> None:
    tensors = {n: t.bool() for n, t in layouts.adapter_tensors().items()}
    torch.save(tensors, root / "pytorch_model.bin")


def complex_tensors(root: Path) -> None:
    tensors = {n: t.to(torch.complex64) for n, t in layouts.adapter_tensors().items()}
    torch.save(tensors, root / "pytorch_model.bin")


def a_tensor_without_end(root: Path) -> None:
    """One stored number that claims to be 10**12 of them."""
    tensors = layouts.adapter_tensors()
    tensors["semantic_connector.layernorm.bias"] = torch.ones(1).expand(10**12)
    torch.save(tensors, root / "pytorch_model.bin")


def a_tensor_without_end_that_sizes_the_model(root: Path) -> None:
    tensors = layouts.adapter_tensors()
    tensors["semantic_connector.conv.2.weight"] = torch.ones(1, 1, 1).expand(32 * 10**9, 32, 3)
    torch.save(tensors, root / "pytorch_model.bin")


def numbers_that_overflow_python(root: Path) -> None:
    config = layouts.config()
    config["prompt_size"] = 10**400
    layouts.write_json(root / "config.json", config)


FAULTS: list[tuple[Callable[[Path], None], str, bool]] = [
    (code_in_the_pickle, "other than plain tensors", True),
    (code_under_the_safetensors_name, "not a whole safetensors file", False),
    (code_in_the_folder, "holds neither", False),
    (truncated_pickle, r"pytorch_model\.bin", False),
    (half_a_pickle, r"pytorch_model\.bin", False),
    (pickle_linked_out, "outside its folder", True),
    (config_linked_out, "outside its folder", True),
    (pickle_is_a_folder, "expected a file", False),
    (no_weights, "holds neither", False),
    (no_config, r"config\.json: there is no such file", False),
    (config_is_cut, "not readable as JSON", False),
    (index_climbs_out, "plain name", True),
    (tensors_of_another_dtype, "expected a dtype like", False),
    (complex_tensors, "expected a dtype like", False),
    (a_tensor_without_end, r"largest is semantic_connector\.layernorm\.bias", False),
    (a_tensor_without_end_that_sizes_the_model, r"largest is semantic_connector\.conv", False),
    (numbers_that_overflow_python, "an integer of 401 digits", False),
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> dict[str, Path]:
    return {
        "whisper": layouts.whisper_folder(tmp_path_factory.mktemp("whisper")),
        "llada": layouts.llada_folder(tmp_path_factory.mktemp("llada")),
    }


@pytest.mark.parametrize("unsafe_pickle", [False, True])
@pytest.mark.parametrize(("spoil", "names", "unsafe"), FAULTS)
def test_a_hostile_checkpoint_is_refused(tmp_path, parts, spoil, names, unsafe, unsafe_pickle):
    root = layouts.diffa_folder(tmp_path / "diffa")
    spoil(root)
    with pytest.raises(CheckpointError, match=names) as caught:
        load_diffa(root, **parts, unsafe_pickle=unsafe_pickle)
    if not unsafe_pickle:
        damaged = (truncated_pickle, half_a_pickle)
        assert spoil in damaged or isinstance(caught.value, UnsafeCheckpointError) == unsafe
    assert not _ran(root).exists()


def test_stage_1_must_lie_in_the_folder(tmp_path, parts):
    root = layouts.diffa_2_folder(tmp_path / "diffa")
    stage_1_linked_out(root)
    with pytest.raises(UnsafeCheckpointError, match="outside"):
        load_diffa(root, **parts, stage=1)


def test_the_old_container_needs_leave_and_gets_it(tmp_path, parts):
    root = layouts.diffa_folder(tmp_path)
    tensors = layouts.adapter_tensors()
    torch.save(tensors, root / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(UnsafeCheckpointError, match="unsafe_pickle=True"):
        load_diffa(root, **parts)
    model = load_diffa(root, **parts, unsafe_pickle=True)
    bias = tensors["semantic_connector.layernorm.bias"]
    assert torch.equal(model.adapter.semantic.norm.bias, bias)


@pytest.mark.parametrize("part", ["whisper", "llada"])
@pytest.mark.parametrize("shape", ["missing", "extra", "wrong shape"])
def test_encoder_and_backbone_are_loaded_as_strictly(tmp_path, parts, part, shape):
    root = layouts.diffa_folder(tmp_path / "diffa")
    make = layouts.whisper_folder if part == "whisper" else layouts.llada_folder
    folder = make(tmp_path / part)
    for file in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        file.unlink()
    tensors = layouts.read_folder(parts[part])
    name = sorted(tensors)[0]
    if shape == "missing":
        del tensors[name]
    elif shape == "extra":
        tensors[name.replace("weight", "extra").replace("bias", "extra")] = torch.ones(1)
    else:
        tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="extra" if shape == "extra" else name.split(".")[-2]):
        load_diffa(root, **{**parts, part: folder})
