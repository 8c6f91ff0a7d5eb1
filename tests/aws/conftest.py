"""Puts this folder's modules on the import path, and builds the functions once for all tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from template import Loader  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def bootstraps() -> dict[str, Path]:
    """Executables that `sam build` makes for this machine, by the function's name in the template."""
    command = ("sam", "build", "--config-env", "local")
    environment = os.environ | {"CARGO_LAMBDA_COMPILER": "cargo"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    built = yaml.load((ROOT / ".aws-sam/build/template.yaml").read_text(), Loader)["Resources"]
    functions = {name: it["Properties"] for name, it in built.items() if it["Type"] == "AWS::Serverless::Function"}
    return {name: ROOT / ".aws-sam/build" / it["CodeUri"] / "bootstrap" for name, it in functions.items()}
