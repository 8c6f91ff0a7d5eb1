//! The scripts that build a release, run with a stand-in for the real program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory as _;
use serde_json::Value;
use tieline_standalone::args::Args;

use crate::bridge::Said;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn script(name: &str) -> Command {
    Command::new(repository().join("infra/release").join(name))
}

/// The lines that a program prints, run in a directory.
#[track_caller]
fn run(dir: &Path, program: &str, words: &[&str]) -> String {
    Said::of(Command::new(program).args(words).current_dir(dir)).good()
}

#[test]
fn archive_has_all_release_files() {
    let dir = tempfile::tempdir().unwrap();
    // A small program that answers like the real one.
    let program = dir.path().join("program");
    let text = format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_tieline"));
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let build = |out: &str| {
        let out = dir.path().join(out);
        let mut archive = script("archive.sh");
        let path = Said::of(archive.arg(&out).arg(&program).env("SOURCE_DATE_EPOCH", "1000000000")).good();
        PathBuf::from(path.trim())
    };
    let (first, again) = (build("a"), build("b"));
    assert_eq!(
        fs::read(&first).unwrap(),
        fs::read(&again).unwrap(),
        "the same files make the same archive"
    );
    let folder = first.parent().unwrap();
    let name = first.file_name().unwrap().to_str().unwrap();
    run(folder, "sha256sum", &["--check", &format!("{name}.sha256")]);
    let listed = run(folder, "tar", &["-tzf", name]);
    let root = name.strip_suffix(".tar.gz").unwrap();
    for file in [
        "tieline",
        "LICENSE",
        "README.md",
        "docs/one-machine.md",
        "docs/on-call.zh-CN.md",
        "docs/platforms/custom_example.py",
        "tieline.service",
        "compose.yaml",
        "completions/tieline.fish",
    ] {
        assert!(
            listed.lines().any(|line| line == format!("{root}/{file}")),
            "{file}: {listed}"
        );
    }
    run(folder, "tar", &["-xzf", name]);
    let unpacked = Said::of(Command::new(folder.join(root).join("tieline")).arg("--version")).good();
    assert!(root.starts_with(&unpacked.trim().replace(' ', "-")), "{unpacked}");
}

#[test]
fn image_can_be_read_by_container_engines() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let build = |out: &str| {
        Said::of(
            script("image.py")
                .args(["/bin/ls", out, "--tag", "tieline:test"])
                .current_dir(here),
        )
        .good()
    };
    let digest = build("image.tar");
    assert_eq!(digest, build("again.tar"), "the same input makes the same image");
    run(here, "tar", &["-xf", "image.tar"]);
    // Each blob is named by its digest.
    let blobs = here.join("blobs/sha256");
    for blob in fs::read_dir(&blobs).unwrap() {
        let name = blob.unwrap().file_name().into_string().unwrap();
        assert!(run(&blobs, "sha256sum", &[&name]).starts_with(&name));
    }
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |described: &Value| {
        let digest = described["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let path = blobs.join(digest);
        assert_eq!(described["size"], fs::metadata(&path).unwrap().len());
        path
    };
    assert_eq!(read(&here.join("oci-layout"))["imageLayoutVersion"], "1.0.0");
    let index = read(&here.join("index.json"));
    assert_eq!(index["manifests"][0]["digest"], digest.trim());
    assert_eq!(
        index["manifests"][0]["annotations"]["io.containerd.image.name"],
        "tieline:test"
    );
    let manifest = read(&blob(&index["manifests"][0]));
    let config = read(&blob(&manifest["config"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"][0], "/tieline");
    assert_eq!(config["config"]["StopSignal"], "SIGTERM");
    check_variables(&config["config"]["Env"]);
    let layer = blob(&manifest["layers"][0]);
    fs::create_dir(here.join("root")).unwrap();
    run(&here.join("root"), "tar", &["-xzf", layer.to_str().unwrap()]);
    let root = here.join("root");
    assert_eq!(fs::read(root.join("tieline")).unwrap(), fs::read("/bin/ls").unwrap());
    assert!(
        fs::read_to_string(root.join("etc/ssl/certs/ca-certificates.crt"))
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    // The libraries that it is linked with are included, under the paths that its loader searches.
    let linked = run(here, "ldd", &["/bin/ls"]);
    for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
        assert!(root.join(library.trim_start_matches('/')).exists(), "{library}");
    }
}

/// Every variable that the image sets is a variable of the program or of its libraries.
fn check_variables(set: &Value) {
    let tool = Args::command();
    let known: Vec<&str> = tool
        .get_arguments()
        .filter_map(|flag| flag.get_env()?.to_str())
        .collect();
    for variable in set.as_array().unwrap() {
        let name = variable.as_str().unwrap().split('=').next().unwrap();
        assert!(name == "SSL_CERT_FILE" || known.contains(&name), "{name}");
    }
}

#[test]
fn unit_file_and_compose_file_name_variables_of_the_program() {
    let tool = Args::command();
    let known: Vec<&str> = tool
        .get_arguments()
        .filter_map(|flag| flag.get_env()?.to_str())
        .collect();
    for file in ["tieline.service", "compose.yaml"] {
        let text = fs::read_to_string(repository().join("infra/release").join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: Vec<&str> = words.filter(|word| word.starts_with("TIELINE_")).collect();
        assert!(!named.is_empty());
        for name in named {
            assert!(known.contains(&name) || name == "TIELINE_HOST", "{file}: {name}");
        }
        if file.ends_with("yaml") {
            let _: Value = serde_yaml_ng::from_str(&text).unwrap();
        }
    }
}
