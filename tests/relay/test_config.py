"""Settings: the file, the environment on top, and what is said when either is wrong."""

from pathlib import Path

import pytest

from relay import config
from relay.core.errors import Misconfigured


def test_defaults_need_nothing() -> None:
    settings = config.parse("")
    assert settings.default_route == "capture"
    assert settings.ways_out == {"capture": {"type": "capture"}}
    assert settings.embedded_queue
    assert settings.database_url.startswith("sqlite:///")


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLARBOX_API__PORT", "9000")
    monkeypatch.setenv("PILLARBOX_DATABASE__URL", "postgresql://u:p@h/d")
    settings = config.parse('[api]\nport = 1\nhost = "0.0.0.0"\n')
    assert (settings.api.port, settings.api.host) == (9000, "0.0.0.0")
    assert settings.database_url == "postgresql://u:p@h/d"
    assert "p@h" not in repr(settings)


def test_one_provider_needs_no_route_and_several_do() -> None:
    assert config.parse('[providers.office]\ntype = "smtp"\n').default_route == "office"
    with pytest.raises(Misconfigured, match="needed to choose between providers"):
        config.parse('[providers.a]\ntype = "smtp"\n[providers.b]\ntype = "smtp"\n')


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("PILLARBOX_API__PRT", "1", "environment: PILLARBOX_API__PRT is not a setting"),
        ("PILLARBOX_SMPT__PORT", "1", "environment: PILLARBOX_SMPT__PORT is not a setting"),
        ("PILLARBOX_API__PORT", "many", "environment: PILLARBOX_API__PORT: api.port: .*valid integer"),
    ],
)
def test_a_misspelt_or_wrong_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match=complaint):
        config.parse("")


def test_every_fault_is_told_at_once_with_its_line() -> None:
    text = "[smtp]\nmax_size = 0\n\n[api]\nport = 70000\nextra = 1\n"
    with pytest.raises(Misconfigured) as caught:
        config.parse(text, "x.toml")
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["x.toml:2", "x.toml:5", "x.toml:6"]
    assert "api.extra: is not a setting" in lines[2]


def test_a_file_that_is_named_must_be_readable(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        config.load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(Misconfigured, match="UTF-8"):
        config.load(tmp_path / "latin.toml")


def test_secrets_are_looked_up_and_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFICE", "from-the-environment")
    (tmp_path / "secret").write_text("from-a-file\n")
    options = {
        "type": "smtp",
        "password": "env:OFFICE",
        "nested": {"token": f"file:{tmp_path / 'secret'}"},
        "api_key": "in-clear",
        "host": "h",
    }
    resolved = config.resolve(options)
    assert (resolved["password"], resolved["nested"]["token"]) == ("from-the-environment", "from-a-file")
    shown = config.redacted(options)
    assert shown["password"] == "env:OFFICE"
    assert shown["api_key"] == "********"
    assert shown["host"] == "h"
    for reference in ("env:MISSING_ONE", f"file:{tmp_path / 'none'}"):
        with pytest.raises(Misconfigured):
            config.secret(reference)
