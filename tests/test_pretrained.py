"""A model as a folder: exact round trips, saves that fail half-way, folders from strangers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ByT5Tokenizer

from dllm_audio import (
    AudioDiffusionLM,
    CachedParallelSampler,
    LLaDA,
    PromptedSemanticAdapter,
    SemanticAdapter,
)
from dllm_audio.checkpoints import load_model
from dllm_audio.errors import CheckpointError, InvalidArgumentError
from dllm_audio.files import folders as saving
from parity import load_golden, load_golden_json
from small_parts import character_tokenizer, same, small_model


def equal(a: AudioDiffusionLM, b: AudioDiffusionLM) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(
        t.dtype == second[n].dtype and torch.equal(t, second[n]) for n, t in first.items()
    )


def shifted(model: AudioDiffusionLM) -> AudioDiffusionLM:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    return model


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_round_trip_is_exact(tmp_path: Path) -> None:
    model = small_model(character_tokenizer(), n_kv_heads=2, weight_tying=True)
    model.save_pretrained(tmp_path / "new" / "folder")
    loaded = AudioDiffusionLM.from_pretrained(tmp_path / "new" / "folder")
    assert equal(loaded, model)
    assert not loaded.training
    assert not loaded.encoder.trainable
    assert loaded.default_sampler() == model.default_sampler()
    assert loaded.backbone.config == model.backbone.config
    assert loaded.tokenizer.get_vocab() == model.tokenizer.get_vocab()
    assert not [n for n in names(tmp_path / "new" / "folder") if n.startswith(".")]


def test_each_part_keeps_its_own_precision(tmp_path: Path) -> None:
    model = small_model()
    model.backbone.to(torch.bfloat16)
    model.adapter.norm_in_double = None  # nothing that is stored
    model.save_pretrained(tmp_path)
    assert equal(AudioDiffusionLM.from_pretrained(tmp_path), model)
    half = AudioDiffusionLM.from_pretrained(tmp_path, dtype=torch.float16)
    assert {p.dtype for p in half.parameters()} == {torch.float16}


def test_a_smaller_storage_precision_comes_back_as_the_models(tmp_path: Path) -> None:
    model = small_model()
    model.save_pretrained(tmp_path, storage_dtype=torch.float16)
    stored = load_file(tmp_path / "model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float16}
    loaded = AudioDiffusionLM.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float())


def test_precisions_that_would_be_lost_are_not_stored(tmp_path: Path) -> None:
    model = small_model()
    model.backbone.ln_f.to(torch.float64)
    model.save_pretrained(tmp_path / "exact")
    assert equal(AudioDiffusionLM.from_pretrained(tmp_path / "exact"), model)
    for dtype in (torch.float16, torch.int8, torch.int32):
        with pytest.raises(InvalidArgumentError, match="storage_dtype"):
            model.save_pretrained(tmp_path / "lossy", storage_dtype=dtype)


def test_shards_come_back_and_old_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    model, whole = small_model(character_tokenizer()), huggingface_hub.save_torch_state_dict

    def sharded(*args: Any, **kwargs: Any) -> None:
        whole(*args, **{**kwargs, "max_shard_size": 20_000})

    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub, "save_torch_state_dict", sharded)
        model.save_pretrained(tmp_path)
    assert "model.safetensors.index.json" in names(tmp_path)
    assert len([n for n in names(tmp_path) if n.endswith(".safetensors")]) > 2
    assert equal(AudioDiffusionLM.from_pretrained(tmp_path), model)
    (tmp_path / "notes.txt").write_text("mine")
    save_file({"a": torch.zeros(1)}, tmp_path / "theirs.safetensors")
    other = shifted(small_model())
    other.save_pretrained(tmp_path)
    assert names(tmp_path) == {
        *("README.md", "config.json", "model.safetensors", "notes.txt", "theirs.safetensors")
    }
    loaded = AudioDiffusionLM.from_pretrained(tmp_path)
    assert equal(loaded, other)
    assert loaded.tokenizer is None


def test_the_form_of_stage_1_comes_back(tmp_path: Path) -> None:
    model = small_model()
    model.adapter = PromptedSemanticAdapter(SemanticAdapter(16, 24), num_prompts=2)
    model.save_pretrained(tmp_path)
    assert equal(AudioDiffusionLM.from_pretrained(tmp_path), model)


class Crash(BaseException):
    """The process dies here: nothing catches it, and no clean-up of ours may be needed."""


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, AudioDiffusionLM]:
    model = small_model(character_tokenizer())
    model.save_pretrained(tmp_path)
    return tmp_path, model


def test_a_crash_at_any_moment_leaves_one_whole_model(
    saved: tuple[Path, AudioDiffusionLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, old = saved
    new = shifted(small_model())  # without a tokenizer: the old one has to go
    calls = ("link", "replace", "rename", "unlink", "fsync", "rmdir")
    seen, survived = [], 0
    for moment in range(200):
        target = folder / f"copy{moment}"
        shutil.copytree(folder, target, ignore=shutil.ignore_patterns("copy*"))
        left = moment

        def dying(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                if left == 0:
                    raise Crash
                left -= 1
                return call(*args, **kwargs)

            return wrapped

        with monkeypatch.context() as patch:
            for name in calls:
                patch.setattr(os, name, dying(getattr(os, name)))
            # A dead process clears nothing up.
            patch.setattr(saving.shutil, "rmtree", dying(lambda *_, **__: None))
            try:
                new.save_pretrained(target)
                survived += 1
            except Crash:
                pass
        loaded = AudioDiffusionLM.from_pretrained(target)
        found = "new" if equal(loaded, new) else "old" if equal(loaded, old) else "mixed"
        assert (loaded.tokenizer is None) == (found == "new")
        seen.append(found)
        if moment % 4 == 0:  # the next save mends whatever was left
            old.save_pretrained(target)
            assert equal(AudioDiffusionLM.from_pretrained(target), old)
            assert not [n for n in names(target) if n.startswith(".")]
        shutil.rmtree(target)
        if survived:
            break
    assert survived
    assert seen == sorted(seen, key=["old", "new"].index)
    assert {"old", "new"} == set(seen)


def test_a_full_disk_keeps_the_old_model(
    saved: tuple[Path, AudioDiffusionLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    folder, old = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(state: Any, directory: Path, **_: Any) -> None:
        (Path(directory) / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "save_torch_state_dict", full)
    with pytest.raises(CheckpointError, match=r"unchanged.*No space left"):
        shifted(small_model()).save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert equal(AudioDiffusionLM.from_pretrained(folder), old)


def test_without_links_files_are_copied(
    saved: tuple[Path, AudioDiffusionLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refused)
    new = shifted(small_model())
    new.save_pretrained(saved[0])
    assert equal(AudioDiffusionLM.from_pretrained(saved[0]), new)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(CheckpointError, match="taken"):
        small_model().save_pretrained(tmp_path / "taken")


def test_parts_that_the_folder_cannot_describe_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    peft = pytest.importorskip("peft")
    for part in ("encoder", "adapter", "backbone"):
        model = small_model()
        setattr(model, part, torch.nn.Linear(2, 2))
        with pytest.raises(InvalidArgumentError, match=part):
            model.save_pretrained(tmp_path / part)
        assert not (tmp_path / part).exists()
    model = small_model()
    model.backbone = peft.get_peft_model(
        model.backbone, peft.LoraConfig(r=1, target_modules=["q_proj"])
    )
    with pytest.raises(InvalidArgumentError, match="registered part"):
        model.save_pretrained(tmp_path)
    model = small_model()
    peft.inject_adapter_in_model(peft.LoraConfig(r=1, target_modules=["q_proj"]), model.backbone)
    with pytest.raises(InvalidArgumentError, match=r"^backbone: .*merge LoRA"):
        model.save_pretrained(tmp_path)


class OwnLLaDA(LLaDA):
    """Somebody's own, under no name."""


class OwnSampler(CachedParallelSampler):
    """Goes another way, which no settings tell."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return super().__call__(*args, **options)


def _tied(model: AudioDiffusionLM) -> None:
    model.backbone.ff_out.weight = model.backbone.wte.weight


def _with_lora(model: AudioDiffusionLM) -> None:
    peft = pytest.importorskip("peft")
    peft.inject_adapter_in_model(peft.LoraConfig(r=1, target_modules=["q_proj"]), model.backbone)


def _quantized(model: AudioDiffusionLM) -> None:
    weight = model.encoder.model.conv1.weight.detach().to(torch.int8)
    model.encoder.model.conv1.weight = torch.nn.Parameter(weight, requires_grad=False)


def _unnamed(model: AudioDiffusionLM) -> None:
    model.backbone.__class__ = OwnLLaDA


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_tied, r"^backbone: expected weights of their own.* backbone\.ff_out\.weight is "),
        (_with_lora, r"^backbone: .*merge LoRA"),
        (_quantized, r"^encoder: expected plain weights that are not quantized.* torch\.int8"),
        (_unnamed, r"write @register\('backbone', 'own-lla-da'\) above the class"),
        (lambda model: model.backbone.blocks[0].to("meta"), r"^backbone: .* hold data"),
        (lambda model: setattr(model, "sampler", OwnSampler(8, 4)), r"^sampler: .*OwnSampler"),
        (lambda model: setattr(model, "sampler", print), r"^sampler: expected a Sampler"),
        (lambda model: setattr(model, "tokenizer", ByT5Tokenizer()), r"^tokenizer: .*ByT5"),
        (lambda model: setattr(model, "tokenizer", object()), r"^tokenizer: expected a transf"),
    ],
)
def test_what_would_not_come_back_is_refused_and_the_earlier_save_stays(
    change: Callable[[AudioDiffusionLM], Any], message: str, tmp_path: Path
) -> None:
    small_model(character_tokenizer()).save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model = small_model(character_tokenizer())
    change(model)
    with pytest.raises(InvalidArgumentError, match=message):
        model.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_backbone_alone_is_not_saved_as_its_parent(tmp_path: Path) -> None:
    model = small_model()
    _unnamed(model)
    with pytest.raises(InvalidArgumentError, match="@register"):
        model.backbone.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def _set(*path: str, value: Any) -> Callable[[dict], None]:
    def change(config: dict) -> None:
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return change


def _remove(name: str) -> Callable[[dict], None]:
    return lambda config: config.pop(name)


@pytest.mark.parametrize(
    "change",
    [
        *(_remove(name) for name in ("model_type", "encoder", "adapter", "backbone")),
        _set("model_type", value="llada"),
        _set("part_dtypes", value="eval"),
        _set("part_dtypes", value={"backbone": "eval"}),
        _set("part_dtypes", value={"backbone": "int8"}),
        _set("part_dtypes", value={"backbone": "nonsense"}),
        _set("encoder", value=[]),
        _set("encoder", "settings", "d_model", value="16"),
        _set("encoder", "settings", "d_model", value=-16),
        _set("encoder", "settings", "encoder_layers", value=10**9),
        _set("encoder", "settings", "activation_function", value="nonsense"),
        _set("encoder", "settings", "encoder_attention_heads", value=3),
        _set("adapter", value="dual"),
        _set("adapter", "name", value="triple"),
        _set("adapter", "name", value=["dual"]),
        _set("adapter", "settings", "semantic", value=None),
        _set("adapter", "settings", "semantic", "settings", "stride", value=0),
        _set("adapter", "settings", "semantic", "settings", "stride", value="4"),
        _set("adapter", "settings", "semantic", "settings", "unknown", value=1),
        _set("adapter", "settings", "acoustic", "settings", "taps", value=[]),
        _set("adapter", "settings", "acoustic", "settings", "taps", value=[0.5]),
        _set("adapter", "settings", "acoustic", "settings", "num_layers", value=10**9),
        _set("adapter", "settings", "acoustic", "settings", "dropout", value=2.0),
        _set("backbone", "settings", "n_layers", value=10**9),
        _set("backbone", "settings", "n_heads", value=5),
        _set("backbone", "settings", "d_model", value=48),
        _set("backbone", "settings", "block_type", value="sequential"),
        _set("sampler", value=[1]),
        _set("sampler", "gen_length", value=0),
        _set("sampler", "block_length", value="4"),
        _set("sampler", "commit", value="high"),
        _set("sampler", "unknown", value=1),
    ],
)
def test_a_config_from_a_stranger_is_refused(
    model_folder: Path, tmp_path: Path, change: Callable[[dict], None]
) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        AudioDiffusionLM.from_pretrained(folder)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    small_model().save_pretrained(folder)
    return folder


def test_missing_left_over_or_damaged_weights_are_refused(
    model_folder: Path, tmp_path: Path
) -> None:
    weights = load_file(model_folder / "model.safetensors")
    fewer, more = dict(list(weights.items())[1:]), {**weights, "extra": torch.zeros(1)}
    for state in (fewer, more):
        folder = Path(shutil.copytree(model_folder, tmp_path / str(len(state))))
        save_file(state, folder / "model.safetensors")
        with pytest.raises(CheckpointError):
            AudioDiffusionLM.from_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(CheckpointError):
        AudioDiffusionLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError):
        AudioDiffusionLM.from_pretrained(folder)


@pytest.fixture
def published(tmp_path: Path) -> dict[str, Path]:
    """The three folders of a published DIFFA: adapters, encoder, backbone."""
    settings, weights = load_golden_json("diffa_config"), load_golden("diffa_weights")
    folders = {name: tmp_path / name for name in ("diffa", "whisper", "llada")}
    for folder in folders.values():
        folder.mkdir()
    adapters = {n: t for n, t in weights.items() if "whisper_model" not in n}
    torch.save(adapters, folders["diffa"] / "pytorch_model.bin")
    encoder = {
        n.replace("whisper_model.", "model.encoder."): t
        for n, t in weights.items()
        if n not in adapters
    }
    save_file(encoder, folders["whisper"] / "model.safetensors")
    save_file(load_golden("llada_weights"), folders["llada"] / "model.safetensors")
    configs = {
        "diffa": {"model_type": "diffa", "whisper_config": settings["whisper"]},
        "whisper": {"model_type": "whisper", **settings["whisper"]},
        "llada": load_golden_json("llada_config"),
    }
    for name, config in configs.items():
        (folders[name] / "config.json").write_text(json.dumps(config))
    return folders


@torch.no_grad()
def test_published_checkpoints_load_and_become_a_folder_of_their_own(
    published: dict[str, Path], tmp_path: Path
) -> None:
    others = {name: published[name] for name in ("whisper", "llada")}
    io = load_golden("diffa_io")
    for stage, expected in ((None, "speech_stage2"), (2, "speech_stage2"), (1, "speech_stage1")):
        model = load_model(published["diffa"], **others, stage=stage)
        frames = model.encode_audio(io["mel"][:1], io["mel_mask"].sum(-1)[:1])
        length = int(frames.lengths[0])
        same(frames.embeds[0, :length], io[expected][0, :length], 1e-4)
    model.save_pretrained(tmp_path / "own")
    assert equal(AudioDiffusionLM.from_pretrained(tmp_path / "own"), model)


def test_what_a_published_checkpoint_lacks_is_asked_for(
    published: dict[str, Path], model_folder: Path
) -> None:
    for load in (load_model, AudioDiffusionLM.from_pretrained):
        with pytest.raises(CheckpointError, match="whisper="):
            load(published["diffa"])
    with pytest.raises(InvalidArgumentError, match=r"^llada"):
        load_model(published["diffa"], whisper=published["whisper"])
    with pytest.raises(InvalidArgumentError, match=r"^stage"):
        load_model(model_folder, stage=2)
