"""Uploads are small, and images hold only what they need. Reads what `sam build` and tests/programs.sh made; prints sizes."""

import io
import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RELEASE = Path(os.environ.get("TIELINE_BIN_DIR", ROOT / "target/release"))
DOCKERFILE = (ROOT / "infra/relay.Dockerfile").read_text()
MIB = 1024 * 1024
# Size of a distribution's bundle of CA certificates.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def binary(name: str) -> Path:
    path = RELEASE / name
    assert path.exists(), f"{path} is missing: see tests/programs.sh"
    return path


# Programs on the path of every callback and message stay small. Runner and admin also contain every agent protocol; admin, which no message
# waits for, also the console and the files of `apply`.
MOST_MIB = {"webhook": 6, "dispatcher": 6, "runner": 7, "admin": 8}


@pytest.mark.parametrize("name", MOST_MIB)
def test_package_is_small(name, bootstraps):
    program = bootstraps[f"{name.capitalize()}Function"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(program, "bootstrap")
    size = len(packed.getvalue())
    print(f"{name}: binary {program.stat().st_size / MIB:.2f} MiB, package {size / MIB:.2f} MiB")
    assert size < MOST_MIB[name] * MIB


def has_standard_library(target: str) -> bool:
    libraries = subprocess.run(["rustc", "--print", "target-libdir", "--target", target], check=True, capture_output=True, text=True).stdout.strip()
    return Path(libraries).is_dir()


ARM64 = "aarch64-unknown-linux-gnu"
# Rust's standard library for another architecture comes only by `rustup target add`, and tests download no toolchains.
WITHOUT_ARM64 = f"the standard library for {ARM64} is not installed here (rustup target add {ARM64})"


@pytest.mark.skipif(not has_standard_library(ARM64), reason=WITHOUT_ARM64)
def test_packages_for_arm64_are_made_as_a_deployment_makes_them():
    """With zig, which is installed as a package, and against the C library of provided.al2023."""
    for name in MOST_MIB:
        command = ("cargo", "lambda", "build", "--release", "--locked", "--arm64", "--skip-target-check", "--bin", name)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        bootstrap = ROOT / "target/lambda" / name / "bootstrap"
        head = subprocess.run(["readelf", "--file-header", "--version-info", bootstrap], check=True, capture_output=True, text=True).stdout
        assert re.search(r"Machine:\s+AArch64", head), name
        newest = max(tuple(map(int, it.split("."))) for it in re.findall(r"GLIBC_([\d.]+)", head))
        print(f"{name} for arm64: {bootstrap.stat().st_size / MIB:.2f} MiB, glibc {'.'.join(map(str, newest))}")
        assert newest <= (2, 34), name


def stage(name: str) -> str:
    """A stage of the Dockerfile together with its base stages, except for the stage that builds."""
    stages = {match[2]: (match[1], match[3]) for match in re.finditer(r"^FROM (\S+) AS (\w+)\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.M | re.S)}
    text = ""
    while name in stages and name != "build":
        name, own = stages[name]
        text = own + text
    assert name == "scratch", f"is based on {name}, expected scratch"
    return text


@pytest.mark.parametrize("program", ["relay"])
def test_image_holds_one_program_and_its_certificates(program):
    text = stage(program)
    copied = dict(re.findall(r"^COPY --from=build (\S+) (\S+)$", text, re.M))
    assert len(copied) == len(re.findall(r"^(?:COPY|ADD|RUN)\b", text, re.M)), "every file comes from the building stage"
    sizes = {copied[f"/{program}"]: binary(program).stat().st_size}
    sizes[copied["/etc/ssl/certs/ca-certificates.crt"]] = CERTIFICATES.stat().st_size if CERTIFICATES.exists() else 250_000
    assert len(sizes) == len(copied)
    # Here it is linked against the system's C library; in the image it is linked statically.
    libraries = subprocess.run(["ldd", binary(program)], check=True, capture_output=True, text=True).stdout
    for path in re.findall(r"(/\S+\.so[.\d]*)", libraries):
        sizes[f"(static) {Path(path).name}"] = Path(path).resolve().stat().st_size
    for path, size in sizes.items():
        print(f"{program} image: {path:<44}{size / MIB:8.2f} MiB")
    total = sum(sizes.values())
    print(f"{program} image: {'at most':<44}{total / MIB:8.2f} MiB")
    assert total < 25 * MIB


@pytest.mark.parametrize("program", ["relay"])
def test_image_runs_unprivileged_and_starts_its_program(program):
    text = stage(program)
    assert re.findall(r"^USER (\d+):(\d+)$", text, re.M) == [("65532", "65532")]
    assert re.findall(r'^ENTRYPOINT \["(.+)"\]$', text, re.M) == [f"/{program}"]
    assert "\nSTOPSIGNAL SIGTERM\n" in text
    assert "cargo build --release --locked --bin relay &&" in DOCKERFILE


def test_relay_health_check_fails_without_a_listener():
    """Without a listener the health check fails, and quickly."""
    asked = subprocess.run([binary("relay"), "health"], env={"TIELINE_RELAY_LISTEN": "127.0.0.1:9"}, capture_output=True, timeout=10)
    assert asked.returncode == 1
    assert '"/relay", "health"' in DOCKERFILE
    assert "Command: [CMD, /relay, health]" in (ROOT / "infra/relay.yaml").read_text()


def test_docker_context_has_every_workspace_member():
    """Every member of the workspace is in the Docker build context: cargo can't read the workspace without them."""
    ignored = (ROOT / "infra/relay.Dockerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    members = re.search(r"members = \[(.+?)\]", (ROOT / "Cargo.toml").read_text())[1]
    for member in re.findall(r'"([^"]+)"', members):
        folder = member.split("/")[0]
        assert folder in sent or f"{folder}/Cargo.toml" in sent, member
    assert {"Cargo.toml", "Cargo.lock"} <= sent and ignored[0] == "*"
