"""The files of `deploy/` are what their tools expect, as far as that can be known without a cluster."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from relay.cli import reference
from relay.config import parse
from tests import debian

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCRIPTS = Path(sys.executable).parent


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def test_the_image_is_built_as_its_linter_wants() -> None:
    run(SCRIPTS / "hadolint", "--failure-threshold", "info", DEPLOY / "Dockerfile")
    text = (DEPLOY / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE))
    packages = set(re.findall(r"^packages = (\[.*\])", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    assert {json.dumps(sorted(copied))} == {json.dumps(sorted(json.loads(one))) for one in packages}
    assert {f"!{name}" for name in copied} <= set((ROOT / ".dockerignore").read_text().split())


def test_compose_follows_its_specification() -> None:
    run(SCRIPTS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert {"smtp", "api", "worker", "clock", "migrate", "postgres", "valkey"} == set(services)
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)


@pytest.mark.parametrize("file", sorted((DEPLOY / "kubernetes").glob("*.yaml")), ids=lambda path: path.name)
def test_manifests_are_what_the_api_takes(file: Path) -> None:
    if file.name == "kustomization.yaml":
        named = set(yaml.safe_load(file.read_text())["resources"])
        there = {path.name for path in file.parent.glob("*.yaml")} - {file.name, "secret.example.yaml"}
        assert named == there
        return
    run(SCRIPTS / "kubernetes-validate", "--strict", file)


def test_the_configuration_in_the_cluster_is_one() -> None:
    text = yaml.safe_load((DEPLOY / "kubernetes" / "config.yaml").read_text())["data"]["pillarbox.toml"]
    assert parse(text).smtp.hostname == "mail.example.org"


def test_roles_in_the_cluster_are_commands() -> None:
    roles = set()
    for file in (DEPLOY / "kubernetes").glob("*.yaml"):
        for document in yaml.safe_load_all(file.read_text()):
            if document["kind"] == "Deployment":
                pod = document["spec"]["template"]["spec"]
                roles |= {argument for container in pod["containers"] for argument in container["args"]}
                assert pod["terminationGracePeriodSeconds"] > 25
                assert pod["securityContext"]["runAsNonRoot"]
    assert roles == {"smtp", "api", "worker", "clock"}


def systemd_analyze() -> tuple[Path, dict[str, str]]:
    libraries = (
        "libseccomp2 libkmod2 libapparmor1 libip4tc2 libcap2 libpam0g libssl3 libacl1 libmount1 libblkid1"
    )
    program = debian.tool(
        "systemd-analyze",
        "systemd",
        "libsystemd-shared",
        "libsystemd0",
        "libcryptsetup12",
        *libraries.split(),
    )
    environment = debian.environment()
    for folder in (debian.ROOT / "usr/lib").glob("*-linux-gnu/systemd"):
        environment["LD_LIBRARY_PATH"] += f":{folder}"
    return program, environment


@pytest.mark.parametrize("unit", ["pillarbox.service", "pillarbox@.service"])
def test_units_are_verified(unit: str, tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / unit).read_text().replace("/opt/pillarbox/bin/pillarbox", "/bin/true")
    (tmp_path / unit).write_text(text)
    name = unit.replace("@.", "@smtp.")
    if name != unit:
        shutil.copy(tmp_path / unit, tmp_path / name)
    program, environment = systemd_analyze()
    done = subprocess.run(
        [str(program), "verify", "--man=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        env=environment,
    )
    # It speaks of units of the machine as well, where there are any.
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "pillarbox" in line]
    assert not ours
    assert "KillMode=mixed" in text


def test_nginx_takes_its_file(tmp_path: Path) -> None:
    program = debian.tool("nginx", "nginx", "nginx-common", "libnginx-mod-stream")
    text = (DEPLOY / "proxies" / "nginx.conf").read_text()
    modules = ROOT / ".cache/debian/root/usr/lib/nginx/modules"
    certificate(tmp_path)
    text = text.replace("modules/", f"{modules if modules.is_dir() else '/usr/lib/nginx/modules'}/")
    text = text.replace("/etc/pillarbox/tls", str(tmp_path)).replace("/run/nginx.pid", str(tmp_path / "pid"))
    text = text.replace(
        "http {",
        "http { access_log off; "
        + "".join(
            f"{kind}_temp_path {tmp_path}/{kind}; "
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ),
    )
    (tmp_path / "nginx.conf").write_text(text)
    said = run(
        program,
        "-t",
        "-p",
        tmp_path,
        "-c",
        tmp_path / "nginx.conf",
        "-g",
        f"error_log {tmp_path}/log;",
        **debian.environment(),
    )
    assert "test is successful" in said


def test_haproxy_takes_its_file(tmp_path: Path) -> None:
    program = debian.tool("haproxy", "haproxy", "libopentracing-c-wrapper0", "libopentracing1", "liblua5.3-0")
    certificate(tmp_path)
    (tmp_path / "both.pem").write_text(
        (tmp_path / "fullchain.pem").read_text() + (tmp_path / "privkey.pem").read_text()
    )
    text = (DEPLOY / "proxies" / "haproxy.cfg").read_text()
    (tmp_path / "haproxy.cfg").write_text(
        text.replace("/etc/haproxy/mail.example.org.pem", str(tmp_path / "both.pem"))
    )
    run(program, "-c", "-f", tmp_path / "haproxy.cfg", **debian.environment())


def certificate(directory: Path) -> None:
    import trustme

    issued = trustme.CA().issue_cert("mail.example.org")
    issued.private_key_pem.write_to_path(directory / "privkey.pem")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(directory / "fullchain.pem", append=True)


def test_the_example_configuration_is_one() -> None:
    text = (DEPLOY / "pillarbox.example.toml").read_text()
    assert parse(text).api.default_from == "Example <noreply@example.org>"
    # Everything that is commented out is right as well.
    assert parse(re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE)).providers["main"]["host"]


@pytest.mark.parametrize(
    ("file", "write"),
    [("deploy/example.env", reference.as_environment), ("docs/settings.md", reference.as_markdown)],
)
def test_lists_of_settings_are_as_the_code_has_them(file: str, write) -> None:
    assert (ROOT / file).read_text(encoding="utf-8") == write(), (
        "run `pillarbox config reference` (see CONTRIBUTING)"
    )


def test_every_setting_says_what_it_means() -> None:
    silent = [".".join(one.path) for table in reference.tables() for one in table.settings if not one.meaning]
    assert not silent


def test_every_line_of_the_example_environment_is_understood(monkeypatch) -> None:
    for line in reference.as_environment().splitlines():
        found = re.fullmatch(r"#(PILLARBOX_\w+)=(.+)", line)
        if found and found[1] != "PILLARBOX_CONFIG":
            monkeypatch.setenv(found[1], found[2])
    parse("")


def test_the_reference_as_a_file_is_a_file() -> None:
    # Tables that may be there several times say nothing by default, nor do values that are the absence of one.
    blocks = re.split(r"\n(?=# .*\n#\[)", reference.as_toml())
    written = "\n".join(
        block for block in blocks if not re.search(r"^#\[(\[|routes\.(default|rules))", block, re.M)
    )
    text = re.sub(r"^#(?=\[|\w+ = .)", "", written, flags=re.MULTILINE)
    assert "\nmax_size = " in text
    assert parse(text).model_dump() == parse("").model_dump()
