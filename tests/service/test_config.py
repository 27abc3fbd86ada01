"""The configuration: the least that works, every key checked and documented, the environment overrides."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from encoder.collection import CollectionConfig
from encoder.model_config import ModelConfig
from service.config import SECTIONS, Config, ConfigError, reference

LEAST = """
[archive]
authority = "doppel.example"

[[collection]]
name = "miles"
path = "miles"

[[model]]
name = "optical"
grid = { start = 3800.0, stop = 7000.0, pixels = 4096 }
"""


def written(directory: Path, text: str) -> Path:
    path = directory / "doppel.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_least_that_works(tmp_path: Path) -> None:
    config = Config.read(written(tmp_path, LEAST), {})
    assert config.releases == tmp_path / "releases"
    assert config.plan.work == tmp_path / "work"
    assert config.service.url == "http://127.0.0.1:8080"
    assert [model.kind for model in config.models] == ["blocks"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[service]\nprot = 80", r"\[service\] has no key 'prot'; did you mean 'port'\?"),
        ("[sevrice]\nport = 80", r"no section \[sevrice\]; did you mean 'service'\?"),
        ("[service]\nport = '80'", r"\[service\] port must be a whole number, not '80'"),
        ("[service]\nport = true", r"port must be a whole number, not True"),
        (
            "[[collection]]\nname = 'a'\npath = 'a'\nreadr = 'x'",
            r"has no key 'readr'; did you mean 'reader'\?",
        ),
        ("[[collection]]\nname = 'miles'\npath = 'b'", "miles is there 2 times"),
        ("[[model]]\nname = 'select'\ngrid = {start=1e3,stop=2e3,pixels=99}", "reserved word"),
        ("[[model]]\nname = 'b'\ncollections=['mils']\ngrid={start=1e3,stop=2e3,pixels=99}", "mean 'miles'"),
        ("[collection.x]", "has no key 'x'"),
        ("[service.port]\nx = 1", "port must be a whole number"),
        ("nonsense", "is not TOML"),
    ],
)
def test_wrong_keys_are_told_with_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.read(written(tmp_path, f"{LEAST}\n{text}\n"), {})


@pytest.mark.parametrize("part", ["archive", "collection", "model"])
def test_what_cannot_be_missing_is_asked_for(tmp_path: Path, part: str) -> None:
    document = tomllib.loads(LEAST)
    del document[part]
    others = [block for block in LEAST.strip().split("\n\n") if not block.lstrip("[").startswith(part)]
    with pytest.raises(ConfigError, match=part):
        Config.read(written(tmp_path, "\n\n".join(others)), {})


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*No such file"):
        Config.read(tmp_path / "none.toml", {})


def test_the_environment_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, LEAST)
    config = Config.read(
        path, {"DOPPEL_SERVICE_PORT": "8099", "DOPPEL_DATA": "/x", "DOPPEL_LIMITS_MAX_ROWS": "7"}
    )
    assert (config.service.port, config.limits.max_rows) == (8099, 7)
    with pytest.raises(ConfigError, match="DOPPEL_SERVICE_PORT: 'many' is no int"):
        Config.read(path, {"DOPPEL_SERVICE_PORT": "many"})
    with pytest.raises(ConfigError, match=r"DOPPEL_SERVICE_PROT: .* did you mean 'port'"):
        Config.read(path, {"DOPPEL_SERVICE_PROT": "1"})


@pytest.mark.parametrize("kind", [*SECTIONS.values(), CollectionConfig, ModelConfig])
def test_every_key_is_documented(kind: type) -> None:
    text = reference()
    for one in fields(kind):
        assert one.metadata["doc"] in text, one.name


def test_the_reference_is_itself_a_configuration(tmp_path: Path) -> None:
    lines = []
    values = {"authority": '"a.b"', "name": '"x"', "path": '"x"', "grid": "{start=4e3, stop=5e3, pixels=99}"}
    for line in reference().splitlines():
        key = line.removeprefix("# ").partition(" ")[0]
        lines.append(f"{key} = {values[key]}" if line.startswith("# ") else line)
    Config.read(written(tmp_path, "\n".join(lines)), {})
