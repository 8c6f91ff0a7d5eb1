//! The data directory: keys and tokens that must outlive the process, for its owner's eyes only.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use tieline_bridge::world::random;
use tieline_core::secret::Secret;

/// Says who works in the directory, and is locked meanwhile.
const LOCK: &str = "lock";
const MASTER_KEY: &str = "master.key";
/// Where the token that sees all is kept.
pub const ADMIN_TOKEN: &str = "admin-token";
/// Nobody but the owner.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIR: u32 = 0o700;

/// Makes the directory, if it isn't there.
///
/// # Errors
/// If it can't be made.
pub fn prepare(dir: &Path) -> anyhow::Result<()> {
    let is_new = !dir.exists();
    fs::create_dir_all(dir).with_context(|| format!("can't make the data directory {}", dir.display()))?;
    if is_new {
        fs::set_permissions(dir, Permissions::from_mode(PRIVATE_DIR))
            .context("can't close the data directory to others")?;
    }
    Ok(())
}

/// Takes the directory for this process alone, as long as the file that is given back is open.
///
/// # Errors
/// If another process has it: at once, with its id.
pub fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE)
        .open(&path)
        .with_context(|| format!("can't open {}", path.display()))?;
    match file.try_lock() {
        // Some network drives know no locks; the queues' file is guarded there too.
        Ok(()) | Err(TryLockError::Error(_)) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let owner = file.read_to_string(&mut owner).map(|_| owner).unwrap_or_default();
            bail!(
                "the data directory {} is in use by another process ({})",
                dir.display(),
                owner.trim()
            );
        }
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "process {}", std::process::id()))
        .context("can't write the lock")?;
    Ok(file)
}

/// The key that seals secrets at rest. Made at the first start.
///
/// # Errors
/// If it can't be read or written.
pub fn master_key(dir: &Path) -> anyhow::Result<[u8; 32]> {
    let text = keep(&dir.join(MASTER_KEY), || hex::encode(random::<32>()))?;
    let bytes = hex::decode(text.trim()).context("master.key is not hex")?;
    <[u8; 32]>::try_from(bytes)
        .ok()
        .context("master.key is not 32 bytes long")
}

/// The token that sees all: the operator's own, else the one made at the first start. Short ones are for where nobody else can try them.
///
/// # Errors
/// If it can't be read or written, or the given one is too short.
pub fn admin_token(dir: &Path, given: Option<&str>, listen: SocketAddr) -> anyhow::Result<Secret> {
    if let Some(token) = given.filter(|given| !given.is_empty()) {
        ensure!(
            token.len() >= 8 || listen.ip().is_loopback(),
            "the admin token must have at least 8 characters where others can reach {listen}"
        );
        return Ok(Secret::new(token));
    }
    let text = keep(&dir.join(ADMIN_TOKEN), || {
        format!("tla_{}", hex::encode(random::<24>()))
    })?;
    Ok(Secret::new(text.trim()))
}

/// Reads a private file, or makes it. Whoever comes second reads what the first has written.
fn keep(path: &Path, make: impl FnOnce() -> String) -> anyhow::Result<String> {
    let name = path.display();
    match File::open(path) {
        Ok(mut file) => {
            let mut text = String::new();
            file.read_to_string(&mut text)
                .with_context(|| format!("can't read {name}"))?;
            Ok(text)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = make();
            write_whole(path, &text).with_context(|| format!("can't write {name}"))?;
            Ok(text)
        }
        Err(error) => Err(error).with_context(|| format!("can't open {name}")),
    }
}

/// Written aside and renamed, so that a crash leaves no half key.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(PRIVATE_FILE)
        .open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let refused = lock(dir.path()).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("(process {})", std::process::id())),
            "{refused}"
        );
        drop(first);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn keys_are_kept_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let key = master_key(dir.path()).unwrap();
        assert_eq!(master_key(dir.path()).unwrap(), key);
        let mode = fs::metadata(dir.path().join(MASTER_KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, PRIVATE_FILE);
        let [here, everywhere] = ["127.0.0.1:8080", "0.0.0.0:8080"].map(|it| it.parse().unwrap());
        let token = admin_token(dir.path(), None, here).unwrap();
        assert!(admin_token(dir.path(), None, here).unwrap().matches(token.expose()));
        assert!(
            admin_token(dir.path(), Some("given-token"), everywhere)
                .unwrap()
                .matches("given-token")
        );
        assert!(admin_token(dir.path(), Some("short"), here).is_ok());
        assert!(admin_token(dir.path(), Some("short"), everywhere).is_err());
    }
}
