#!/usr/bin/env python3
"""Builds an OCI image of a program without a container engine.

    infra/release/image.py BINARY OUT.tar [--tag NAME:TAG]

The image holds the program, the shared libraries that it is linked with (as `ldd` names them on this machine), the certificates that it
trusts, and nothing else: no shell, no package manager. It runs as user 65532 and keeps its data in the volume /data. The archive is an OCI
image layout, which `docker load`, `podman load` and `skopeo copy oci-archive:OUT.tar docker://…` read. The same input makes the same bytes.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile

USER = 65532
CERTIFICATES = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"]
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def libraries(binary):
    """The shared libraries of a program, each by the path under which its loader looks for it."""
    told = subprocess.run(["ldd", binary], capture_output=True, text=True)
    if told.returncode != 0:
        if "not a dynamic executable" in told.stderr + told.stdout or "statically linked" in told.stdout:
            return []
        sys.exit(f"ldd {binary}: {told.stderr.strip()}")
    if "not found" in told.stdout:
        sys.exit(f"{binary} needs libraries that are not here:\n{told.stdout}")
    # `name => /path (address)`, and `/path (address)` for the loader itself.
    return sorted(set(re.findall(r"(?:=> |^\s+)(/\S+)", told.stdout, re.MULTILINE)))


def add(tar, path, content=None, mode=0o644, owner=0):
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.mode, entry.mtime, entry.uid, entry.gid = mode, 0, owner, owner
    if content is None:
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
    else:
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def layer(binary):
    """The one layer, uncompressed."""
    certificates = next((path for path in CERTIFICATES if os.path.exists(path)), None)
    if certificates is None:
        sys.exit("no certificates on this machine: install ca-certificates")
    files = {"/tieline": (read(binary), 0o755)}
    for path in libraries(binary):
        files[path] = (read(path), 0o755)
    files["/etc/ssl/certs/ca-certificates.crt"] = (read(certificates), 0o644)
    files["/etc/passwd"] = (f"tieline:x:{USER}:{USER}::/data:/nowhere\n".encode(), 0o644)
    files["/etc/group"] = (f"tieline:x:{USER}:\n".encode(), 0o644)
    # Names are looked up in /etc/hosts first, then by DNS.
    files["/etc/nsswitch.conf"] = (b"hosts: files dns\n", 0o644)
    folders = {"/data", "/tmp"}
    for path in files:
        while path := os.path.dirname(path).rstrip("/"):
            folders.add(path)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folders):
            mode = {"/data": 0o700, "/tmp": 0o1777}.get(path, 0o755)
            add(tar, path, mode=mode, owner=USER if path == "/data" else 0)
        for path in sorted(files):
            content, mode = files[path]
            add(tar, path, content, mode)
    return out.getvalue()


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def main():
    words = argparse.ArgumentParser(description="Builds an OCI image of a program without a container engine.")
    words.add_argument("binary")
    words.add_argument("out")
    words.add_argument("--tag", default="tieline:latest")
    args = words.parse_args()

    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None:
        sys.exit(f"unknown machine {platform.machine()}; known: {', '.join(ARCHITECTURES)}")
    plain = layer(args.binary)
    packed = gzip.compress(plain, compresslevel=6, mtime=0)
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {
                "User": f"{USER}:{USER}",
                "Entrypoint": ["/tieline"],
                "Cmd": ["serve"],
                "Env": [
                    "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
                    "TIELINE_DATA_DIR=/data",
                    "TIELINE_LISTEN=0.0.0.0:8080",
                ],
                "ExposedPorts": {"8080/tcp": {}},
                "Volumes": {"/data": {}},
                "WorkingDir": "/data",
                "StopSignal": "SIGTERM",
            },
            "rootfs": {"type": "layers", "diff_ids": [digest(plain)]},
            "history": [{"created_by": "infra/release/image.py"}],
        },
        sort_keys=True,
    ).encode()

    def described(kind, content, **more):
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(content), "size": len(content), **more}

    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described("config.v1+json", config),
            "layers": [described("layer.v1.tar+gzip", packed)],
        },
        sort_keys=True,
    ).encode()
    names = {"io.containerd.image.name": args.tag, "org.opencontainers.image.ref.name": args.tag.rpartition(":")[2]}
    platform_of = {"architecture": architecture, "os": "linux"}
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [described("manifest.v1+json", manifest, annotations=names, platform=platform_of)],
        },
        sort_keys=True,
    ).encode()
    with tarfile.open(args.out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        add(tar, "index.json", index)
        for folder in ["blobs", "blobs/sha256"]:
            add(tar, folder, mode=0o755)
        for blob in [config, manifest, packed]:
            add(tar, "blobs/sha256/" + digest(blob).removeprefix("sha256:"), blob)
    print(digest(manifest))


if __name__ == "__main__":
    main()
