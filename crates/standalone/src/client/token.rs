//! Finds the token that the command line authenticates with.

use std::fs;
use std::net::IpAddr;

use tieline_core::secret::Secret;
use url::{Host, Url};

use crate::args::Bridge;
use crate::data::ADMIN_TOKEN;

/// The token given by option or environment, else the one in the data directory.
///
/// # Errors
/// If there is none.
pub(super) fn find(bridge: &Bridge, base: &Url) -> anyhow::Result<Secret> {
    if let Some(given) = bridge.admin_token.as_deref().filter(|given| !given.is_empty()) {
        return Ok(Secret::new(given));
    }
    // A stored token is only sent to this machine: a bridge elsewhere doesn't know it, and must not learn it.
    let path = bridge.data_dir.join(ADMIN_TOKEN);
    let looked = "looked at --admin-token and TIELINE_ADMIN_TOKEN, which are not set";
    if !is_loopback(base) {
        let host = base.host_str().unwrap_or_default();
        let file = "the token in the data directory is for a bridge on this machine only";
        anyhow::bail!("no token to sign in with at {host}: {looked}; {file}");
    }
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Secret::new(text.trim())),
        Err(error) => {
            let path = std::path::absolute(&path).unwrap_or(path);
            let file = format!("and at the file {} ({error})", path.display());
            anyhow::bail!("no token to sign in with: {looked}, {file}; --data-dir names another data directory")
        }
    }
}

/// Whether a URL leads to this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_for(url: &str, dir: &std::path::Path) -> anyhow::Result<Secret> {
        let bridge = Bridge {
            url: url.to_owned(),
            admin_token: None,
            org: "default".to_owned(),
            data_dir: dir.to_owned(),
        };
        find(&bridge, &Url::parse(url).unwrap())
    }

    #[test]
    fn stored_token_is_used_for_this_machine_only() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(ADMIN_TOKEN), "tla_kept\n").unwrap();
        for url in ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:9"] {
            assert!(find_for(url, dir.path()).unwrap().matches("tla_kept"));
        }
        for url in ["https://bridge.example.com", "http://127.0.0.1.example.com"] {
            let error = find_for(url, dir.path()).unwrap_err().to_string();
            assert!(error.contains("TIELINE_ADMIN_TOKEN"), "{error}");
        }
    }

    #[test]
    fn missing_token_error_names_the_places_searched() {
        let dir = tempfile::tempdir().unwrap();
        let error = find_for("http://127.0.0.1:1", dir.path()).unwrap_err().to_string();
        let path = dir.path().join(ADMIN_TOKEN).display().to_string();
        for source in ["--admin-token", "TIELINE_ADMIN_TOKEN", &path, "--data-dir"] {
            assert!(error.contains(source), "{source}: {error}");
        }
    }
}
