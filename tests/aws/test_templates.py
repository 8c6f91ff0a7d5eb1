"""The templates are valid, lint-free and safe, and SAM builds them."""

import json
import os
import platform
import re
import shlex
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from template import Loader

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
CHECKOV = ROOT / "tests/.tools/checkov/bin/checkov"
TEMPLATES = sorted(file.name for file in INFRA.glob("*.yaml") if file.name != "checkov.yaml")
FUNCTIONS = ("Webhook", "Dispatcher", "Runner", "Admin")


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


# C is compiled here with this machine's headers. With those of glibc 2.38 and later, scanf needs an equally new glibc at run time. A deployment
# is built with zig's headers, and ci/deploy.yml checks the result.
HOST_HEADERS_ARE_OLD = platform.libc_ver()[0] == "glibc" and version(platform.libc_ver()[1]) < (2, 38)


def run(*command, **environment) -> str:
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("stage", ["default", "dev", "prod"])
def test_sam_validates(stage):
    run("sam", "validate", "--lint", "--config-env", stage)


@pytest.mark.parametrize("name", TEMPLATES)
def test_linter_reports_nothing(name):
    assert run("cfn-lint", f"infra/{name}") == ""


# Default and other value of parameters whose other value creates resources. The checker evaluates the default only.
OTHER_DEFAULTS = {"CallbackEntry": ("HTTP_API", "FUNCTION_URL")}


@pytest.mark.parametrize("parameter", [None, *OTHER_DEFAULTS])
def test_policy_checker_reports_nothing(tmp_path, parameter):
    for name in TEMPLATES:
        text = (INFRA / name).read_text()
        if parameter and name == "template.yaml":
            default, other = OTHER_DEFAULTS[parameter]
            (before,) = re.findall(rf"^  {parameter}:\n    Type: String\n    Default: {default}\n", text, re.M)
            text = text.replace(before, before.replace(default, other))
        (tmp_path / name).write_text(text)
    settings = tmp_path / "checkov.yaml"
    settings.write_text((INFRA / "checkov.yaml").read_text().replace("directory: [infra]", f"directory: [{tmp_path}]"))
    answer = json.loads(run(str(CHECKOV), "--config-file", str(settings), "--output", "json"))
    summary = answer["summary"]
    print(f"policies: {summary['passed']} passed, {summary['failed']} failed, {summary['skipped']} excepted with a reason")
    assert summary["failed"] == 0 and summary["parsing_errors"] == 0
    assert summary["passed"] > 75, "the checker should have found the resources"


def test_every_exception_has_its_reason():
    for name in TEMPLATES:
        for key, resource in yaml.load((INFRA / name).read_text(), Loader)["Resources"].items():
            for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
                assert len(skip["comment"]) >= 20, f"{name}: {key}: {skip['id']}"
    settings = (INFRA / "checkov.yaml").read_text()
    for line in re.findall(r"((?:  #[^\n]*\n)*)  - CKV", settings):
        assert len(line) > 40, "an exception for all resources has no reason"


def test_sam_builds_every_function(bootstraps):
    for name in FUNCTIONS:
        bootstrap = bootstraps[f"{name}Function"]
        assert os.access(bootstrap, os.X_OK), bootstrap
        complaint = subprocess.run([bootstrap], env={}, capture_output=True, text=True)
        assert "TIELINE_CONFIG_TABLE is not set" in complaint.stderr + complaint.stdout
        needed = subprocess.run(["objdump", "-T", bootstrap], check=True, capture_output=True, text=True).stdout
        newest = max(map(version, re.findall(r"GLIBC_([\d.]+)", needed)))
        if HOST_HEADERS_ARE_OLD:
            assert newest <= (2, 34), f"{name} needs glibc {newest}; provided.al2023 has 2.34"


def test_functions_share_compiled_dependencies():
    """`sam build` compiles one function at a time: a dependency that two of them need with different features is compiled twice, with all dependents."""
    features = defaultdict(dict)
    for name in FUNCTIONS:
        package = f"tieline-fn-{name.lower()}"
        tree = run("cargo", "tree", "--locked", "-p", package, "-e", "normal,no-proc-macro", "--prefix", "none", "--no-dedupe", "-f", "{p}|{f}")
        for line in tree.split("\n"):
            crate, _, wanted = line.partition("|")
            features[crate].setdefault(wanted, set()).add(name)
    twice = {crate: wanted for crate, wanted in features.items() if len(wanted) > 1}
    # Only the functions themselves depend on it.
    assert {crate.split()[0] for crate in twice} <= {"aws_lambda_events"}, twice


def samconfig() -> dict:
    return tomllib.loads((ROOT / "samconfig.toml").read_text())


def overrides(section: dict) -> dict[str, str]:
    return dict(it.split("=", 1) for it in shlex.split(section["parameters"]["parameter_overrides"]))


@pytest.mark.parametrize("stage", ["default", "dev", "prod"])
def test_stage_deploys_what_it_builds_under_a_name_that_images_can_have(stage):
    told = samconfig()[stage]
    given = overrides(told["deploy"])
    assert overrides(told["build"])["Arch"] == given["Arch"], "functions of another architecture don't start"
    assert set(given) <= set(yaml.load((INFRA / "template.yaml").read_text(), Loader)["Parameters"])
    # The image repository has the stack's name, which must not contain capitals.
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", told["global"]["parameters"]["stack_name"])


def test_guide_has_a_stage_for_another_region():
    """With all parameters that a stage needs, and without what exists only in another stage's region."""
    lines = (INFRA / "README.md").read_text().split("## A second region")[1].split("## ")[0].splitlines()
    told = tomllib.loads("\n".join(line.strip() for line in lines if line.startswith("    ")))["eu"]
    ours = samconfig()["prod"]
    assert told["global"]["parameters"].keys() == ours["global"]["parameters"].keys() | {"region"}
    for command in ("build", "deploy"):
        assert told[command]["parameters"].keys() <= ours[command]["parameters"].keys()
    assert told["build"] == ours["build"]
    assert overrides(told["deploy"]) == overrides(ours["deploy"]), "the parameters that don't depend on the region"


def test_guides_keep_parameters_in_samconfig_only():
    """`sam deploy --guided` saves every parameter, and the next `sam deploy` overrides what was given in another way."""
    for guide in (ROOT / "README.md", INFRA / "README.md"):
        assert "sam deploy --parameter-overrides" not in guide.read_text(), guide
    text = (INFRA / "README.md").read_text()
    # SAM deploys an unnamed parameter with its previous value, so leaving a parameter out doesn't reset it.
    for place in (text, (ROOT / "samconfig.toml").read_text()):
        assert r'NAME=\"\"' in place
    for parameter in ("RelayImage", "RestoredConfigTable", "AdminTokenVersion"):
        around = [text[max(0, at.start() - 250) : at.end() + 250] for at in re.finditer(parameter, text)]
        assert any("parameter_overrides" in it for it in around), parameter


def test_guides_answer_yes_to_the_changeset_question():
    """Accepting every default deploys nothing: with `confirm_changeset` the default of the last question is no."""
    assert samconfig()["default"]["deploy"]["parameters"]["confirm_changeset"] is True
    for guide in (ROOT / "README.md", INFRA / "README.md"):
        assert re.search(r'`y`\s+to\s+the\s+last,\s+"Deploy\s+this\s+changeset\?"', guide.read_text()), guide


def test_first_deployment_can_be_repeated():
    """A resource with a fixed name is removed with a first deployment that fails, or the guide says how to remove it."""
    guide = (INFRA / "README.md").read_text()
    for key, it in yaml.load((INFRA / "template.yaml").read_text(), Loader)["Resources"].items():
        if it.get("DeletionPolicy", "Delete") == "Delete":
            continue
        assert it["UpdateReplacePolicy"] == "Retain", key
        if key == "Key":
            # Has no fixed name; the tables that stay can't be decrypted without it.
            assert it["DeletionPolicy"] == "Retain" and "schedule-key-deletion" in guide
        elif it["Properties"].get("DeletionProtectionEnabled"):
            # Rolling it back would fail, and the stack would hang.
            assert it["DeletionPolicy"] == "Retain", key
            assert it["Properties"]["TableName"]["Fn::Sub"].replace("${AWS::StackName}", "STACK") in guide, key
        else:
            assert it["DeletionPolicy"] == "RetainExceptOnCreate", key


def test_nested_templates_are_where_sam_looks_for_them():
    template = yaml.load((INFRA / "template.yaml").read_text(), Loader)
    for key, resource in template["Resources"].items():
        if resource["Type"] == "AWS::CloudFormation::Stack":
            assert (INFRA / resource["Properties"]["TemplateURL"]).is_file(), key
            nested = yaml.load((INFRA / resource["Properties"]["TemplateURL"]).read_text(), Loader)
            given, declared = set(resource["Properties"]["Parameters"]), set(nested["Parameters"])
            assert given == declared, f"{key}: {given ^ declared}"


def test_guide_and_workflow_pin_the_tools_that_tests_run_with():
    """A newer SAM or cargo-lambda may build something else, and a Rust below the workspace's version builds nothing."""
    installed = re.search(r'^SAM="(.+)"', (ROOT / "tests/aws/install.sh").read_text(), re.M)[1].split()
    guide = (INFRA / "README.md").read_text()
    workflow = (INFRA / "ci/deploy.yml").read_text()
    (cargo_lambda,) = (it for it in installed if it.startswith("cargo-lambda=="))
    zig = re.search(r"ziglang==[\d.]+", guide)[0]
    assert f"pip install {cargo_lambda} {zig}\n" in workflow
    elsewhere = yaml.safe_load(workflow)["jobs"]["build-elsewhere"]
    assert set(elsewhere["strategy"]["matrix"]["machine"]) == {"macos-15", "ubuntu-24.04"}, "arm64 on Ubuntu is built by the other job"
    commands = "".join(step.get("run", "") for step in elsewhere["steps"])
    (sam,) = (it for it in installed if it.startswith("aws-sam-cli=="))
    assert all(f"pip install {sam} {cargo_lambda} {zig}" in text.replace('pip" install', "pip install") for text in (guide, commands))
    needed = re.search(r'rust-version = "([\d.]+)"', (ROOT / "Cargo.toml").read_text())[1]
    assert f"rustup toolchain install {needed}.0 --target aarch64-unknown-linux-gnu --target x86_64-unknown-linux-gnu" in guide


def test_workflow_example_stores_no_keys_and_deploys_one_version():
    for file in sorted((INFRA / "ci").glob("*.yml")):
        workflow = yaml.safe_load(file.read_text())
        assert workflow["jobs"], file.name
    text = (INFRA / "ci/deploy.yml").read_text() + (INFRA / "ci/deploy-stage.yml").read_text()
    assert "id-token: write" in text and "role-to-assume" in text
    assert "aws-access-key-id" not in text and "secrets." not in text, "no keys are stored"
    for command in ("tests/run.sh", "sam validate --lint", "sam build", "sam deploy"):
        assert command in text
    # Functions and containers have the same version.
    assert re.search(r"relay=\$\(infra/relay-image\.sh .+ arm64\)", text)
    assert "RelayImage=$relay" in text
    # Artifacts lose the executable permission, and the machine's own linker needs a newer C library than Lambda has.
    assert "path: built.tar" in text and "tar -cf built.tar .aws-sam/build" in text and "tar -xf built.tar" in text
    assert "CARGO_LAMBDA_COMPILER" not in text and "GLIBC_2.34" in text


def test_workflow_runs_pinned_actions_and_deploys_main_alone():
    """A tag of an action can be moved to other code, and a token of another branch must not get the role. The release writes to the repository."""
    texts = {name: (INFRA / "ci" / name).read_text() for name in ("deploy.yml", "deploy-stage.yml", "release.yml")}
    for name, text in texts.items():
        actions = re.findall(r"uses: (\S+)(?: # (\S+))?", text)
        foreign = [(action, release) for action, release in actions if not action.startswith("./")]
        assert foreign, name
        for action, release in foreign:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), f"{name}: {action} is not pinned by commit"
            assert re.fullmatch(r"v\d+(\.\d+\.\d+)?", release), f"{name}: {action} does not name its release"
    jobs = {**yaml.safe_load(texts["deploy.yml"])["jobs"], **yaml.safe_load(texts["deploy-stage.yml"])["jobs"]}
    deploying = {name: job for name, job in jobs.items() if "id-token" in job.get("permissions", {})}
    assert set(deploying) == {"deploy", "deploy-dev", "deploy-prod"}
    for name, job in deploying.items():
        assert "github.ref == 'refs/heads/main'" in job["if"], name


def test_deployments_of_a_stage_are_queued_and_the_workflow_is_not():
    whole = yaml.safe_load((INFRA / "ci/deploy.yml").read_text())["concurrency"]
    assert whole["group"].endswith("${{ github.event_name == 'pull_request' && github.ref || github.run_id }}"), "each run of main needs its own group"
    (stage,) = yaml.safe_load((INFRA / "ci/deploy-stage.yml").read_text())["jobs"].values()
    assert "${{ inputs.stage }}" in stage["concurrency"]["group"] and stage["concurrency"]["cancel-in-progress"] is False


NO_STACK = "An error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id tieline-dev does not exist"


@pytest.mark.parametrize(
    "answer, complaint, code, overrides",
    [
        pytest.param("1.dkr.ecr.r.amazonaws.com/tieline-dev", "", 0, "overrides=RelayImage=relay@1\n", id="deployed"),
        pytest.param("", NO_STACK, 0, "", id="not there"),
        pytest.param("None", "", 0, "", id="only a change set that failed"),
        pytest.param("", "", 0, "", id="no repository"),
        pytest.param("", "An error occurred (AccessDenied) when calling the DescribeStacks operation", 1, "", id="not allowed"),
        pytest.param("", "An error occurred (Throttling): Rate exceeded", 1, "", id="throttled"),
    ],
)
def test_only_a_first_deployment_goes_without_images(tmp_path, answer, complaint, code, overrides):
    """Any other error ends the job: functions and containers must have the same version."""
    (job,) = yaml.safe_load((INFRA / "ci/deploy-stage.yml").read_text())["jobs"].values()
    (script,) = (step["run"].replace("${{ inputs.stage }}", "dev") for step in job["steps"] if step.get("id") == "images")
    for path, text in {
        "aws": 'echo "$ANSWER"; echo "$COMPLAINT" >&2; [ -z "$COMPLAINT" ] || exit 254',
        "infra/relay-image.sh": 'echo "relay@1"',
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / path).chmod(0o755)
    output = tmp_path / "output"
    output.touch()
    told = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ANSWER": answer, "COMPLAINT": complaint, "GITHUB_OUTPUT": str(output)}
    done = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=told, capture_output=True, text=True)
    assert (done.returncode, output.read_text()) == (code, overrides), done.stderr
    assert code == 0 or complaint in done.stderr
