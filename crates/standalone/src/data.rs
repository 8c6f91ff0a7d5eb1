//! The data directory: keys and tokens that must outlive the process, accessible only to its owner.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use rustix::fs::Mode;
use rustix::process::{geteuid, umask};
use tieline_bridge::operator::{self, MIN_TOKEN_BITS};
use tieline_bridge::world::random;
use tieline_core::secret::Secret;

/// Contains the id of the process that uses the directory, which holds a lock on it.
const LOCK: &str = "lock";
/// File of the first key.
pub const MASTER_KEY: &str = "master.key";
const KEY_SUFFIX: &str = ".key";
/// File of the root token.
pub const ADMIN_TOKEN: &str = "admin-token";
/// Mode of files that only their owner may use.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIR: u32 = 0o700;
/// Any access of group and others.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

/// Files of the embedded engines, without the files that SQLite keeps beside them.
const DATABASES: [&str; 2] = ["queues.sqlite", "tables.sqlite"];
const BESIDE_DATABASES: [&str; 4] = ["", "-wal", "-shm", "-journal"];
/// Characters of a stored token that carry at least 128 bits, in hex.
const MIN_TOKEN_CHARS: usize = 32;

/// Sets the umask of this process, so that every file it creates is accessible only to its owner, whatever the shell's umask is.
pub fn close_to_others() {
    umask(Mode::from_raw_mode(0o077));
}

/// Creates the directory if it doesn't exist, and checks that only this process's user has access to it.
///
/// # Errors
/// If it can't be made, belongs to another user, or others have access to it.
pub fn prepare(dir: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(dir);
    made.with_context(|| format!("can't make the data directory {}", dir.display()))?;
    let metadata = fs::metadata(dir).with_context(|| format!("can't read the data directory {}", dir.display()))?;
    ensure!(
        metadata.is_dir(),
        "the data directory {} is no directory",
        dir.display()
    );
    if is_unused(dir, &metadata) {
        fs::set_permissions(dir, Permissions::from_mode(PRIVATE_DIR))
            .with_context(|| format!("can't close the data directory {} to others", dir.display()))?;
    } else {
        check_private(dir, &metadata)?;
    }
    for (database, beside) in DATABASES
        .iter()
        .flat_map(|it| BESIDE_DATABASES.map(|beside| (it, beside)))
    {
        close_database(&dir.join(format!("{database}{beside}")))?;
    }
    Ok(())
}

/// Whether a directory was created for us with the shell's usual umask: it belongs to us, no other user can write to it, and it has none of
/// our files yet that others could have read.
fn is_unused(dir: &Path, metadata: &Metadata) -> bool {
    let kept = [MASTER_KEY, ADMIN_TOKEN, LOCK];
    metadata.uid() == geteuid().as_raw()
        && metadata.mode() & OTHERS_WRITE == 0
        && kept
            .iter()
            .chain(&DATABASES)
            .all(|name| fs::symlink_metadata(dir.join(name)).is_err())
}

/// A database of an earlier version may be readable by others, although its directory never was: its mode is corrected silently.
fn close_database(path: &Path) -> anyhow::Result<()> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
    };
    check_owner(path, &metadata)?;
    if metadata.mode() & OTHERS != 0 {
        fs::set_permissions(path, Permissions::from_mode(PRIVATE_FILE))
            .with_context(|| format!("can't close {} to others", path.display()))?;
    }
    Ok(())
}

/// Checks that only this process's user has access.
fn check_private(path: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    check_owner(path, metadata)?;
    let (mode, name) = (metadata.mode() & 0o7777, path.display());
    let private = if metadata.is_dir() { PRIVATE_DIR } else { PRIVATE_FILE };
    ensure!(
        mode & OTHERS == 0,
        "{name} is accessible to other users (mode {mode:03o}), and what is in it opens every secret: run `chmod {private:o} {name}`"
    );
    Ok(())
}

fn check_owner(path: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    let (owner, ours, name) = (metadata.uid(), geteuid().as_raw(), path.display());
    ensure!(
        owner == ours,
        "{name} belongs to user {owner}, but this process runs as user {ours}: run `chown {ours} {name}`, or run it as user {owner}"
    );
    Ok(())
}

/// Locks the directory for this process, as long as the returned file is open.
///
/// # Errors
/// If another process holds the lock: immediately, with its process id.
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
        // Some network drives don't support locks; the queues' database file is locked there too.
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

/// The first data key, which seals secrets at rest until the first rotation. Generated at the first start.
///
/// # Errors
/// If it can't be read or written.
pub fn master_key(dir: &Path) -> anyhow::Result<[u8; 32]> {
    let path = dir.join(MASTER_KEY);
    parse_key(&path, &keep(&path, fresh_key)?)
}

/// Generates another key in a file of its own, and returns the file's name.
///
/// # Errors
/// If it can't be written.
pub fn make_key(dir: &Path) -> anyhow::Result<String> {
    let name = format!("data-{}{KEY_SUFFIX}", hex::encode(random::<6>()));
    let path = dir.join(&name);
    write_whole(&path, &fresh_key()).with_context(|| format!("can't write {}", path.display()))?;
    Ok(name)
}

/// Reads a key from its file.
///
/// # Errors
/// If the file is missing, damaged, or accessible to others.
pub fn read_key(dir: &Path, name: &str) -> anyhow::Result<[u8; 32]> {
    let path = key_path(dir, name)?;
    let text = read_private(&path).with_context(|| {
        let name = path.display();
        format!("without the key in {name} what it sealed can't be opened; restore {name} from a backup")
    })?;
    parse_key(&path, &text)
}

/// Deletes a key that is no longer needed. Does nothing if it doesn't exist.
///
/// # Errors
/// If it can't be deleted.
pub fn delete_key(dir: &Path, name: &str) -> anyhow::Result<()> {
    let path = key_path(dir, name)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't delete {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The file of a key. The name comes from a table, so it must not contain a path.
fn key_path(dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    ensure!(
        is_plain && name.ends_with(KEY_SUFFIX),
        "{name:?} is not the name of a key file"
    );
    Ok(dir.join(name))
}

fn fresh_key() -> String {
    hex::encode(random::<32>())
}

fn parse_key(path: &Path, text: &str) -> anyhow::Result<[u8; 32]> {
    let bytes = hex::decode(text.trim()).ok();
    let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    key.with_context(|| {
        let name = path.display();
        format!("the key in {name} is damaged: it must be 64 hexadecimal digits; restore {name} from a backup")
    })
}

/// From where the API can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// From this machine alone.
    ThisMachine,
    /// From other machines, directly or through a proxy.
    Others,
}

/// The root token: the operator's own, else the one generated at the first start. A weak one is accepted only where no other machine can
/// try tokens.
///
/// # Errors
/// If it can't be read or written, or the given one is too short.
pub fn admin_token(dir: &Path, given: Option<&str>, reach: Reach) -> anyhow::Result<Secret> {
    if let Some(token) = given.filter(|given| !given.is_empty()) {
        ensure!(
            operator::bits(token) >= MIN_TOKEN_BITS || reach == Reach::ThisMachine,
            "the admin token has about {} bits, and needs {MIN_TOKEN_BITS} where others can reach the bridge, also through a proxy: choose \
             32 random hex digits, leave the token out to have one made, or listen on 127.0.0.1 without --trusted-proxies",
            operator::bits(token)
        );
        return Ok(Secret::new(token));
    }
    let path = dir.join(ADMIN_TOKEN);
    let text = keep(&path, || format!("tla_{}", hex::encode(random::<24>())))?;
    let token = text.trim();
    ensure!(
        token.len() >= MIN_TOKEN_CHARS && token.bytes().all(|byte| byte.is_ascii_graphic()),
        "the token in {0} is damaged: it must be one word of at least {MIN_TOKEN_CHARS} ASCII characters; delete {0}, and a new one is made",
        path.display()
    );
    Ok(Secret::new(token))
}

/// Reads a private file, or creates it. If two processes race, the second reads what the first has written.
fn keep(path: &Path, make: impl FnOnce() -> String) -> anyhow::Result<String> {
    let is_missing = matches!(fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound);
    if is_missing {
        let text = make();
        write_whole(path, &text).with_context(|| format!("can't write {}", path.display()))?;
        return Ok(text);
    }
    read_private(path)
}

/// Reads a file that only its owner may read.
fn read_private(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    let mut file = File::open(path).with_context(|| format!("can't open {name}"))?;
    // Check the open file, so that the file checked is the file read.
    check_private(path, &file.metadata().with_context(|| format!("can't read {name}"))?)?;
    let mut text = String::new();
    file.read_to_string(&mut text)
        .with_context(|| format!("can't read {name}"))?;
    Ok(text)
}

/// Writes a temporary file and renames it, so that a crash leaves no partial key.
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
    fs::rename(&aside, path)?;
    // Sync the directory entry too: data sealed with the key may be on disk a moment later.
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
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

    const STRONG: &str = "9f86d081884c7d659a2feaa0c55ad015";

    #[test]
    fn keys_are_persistent_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let key = master_key(dir.path()).unwrap();
        assert_eq!(master_key(dir.path()).unwrap(), key);
        let mode = fs::metadata(dir.path().join(MASTER_KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, PRIVATE_FILE);
        let (here, everywhere) = (Reach::ThisMachine, Reach::Others);
        let token = admin_token(dir.path(), None, here).unwrap();
        assert!(admin_token(dir.path(), None, here).unwrap().matches(token.expose()));
        assert!(
            admin_token(dir.path(), Some(STRONG), everywhere)
                .unwrap()
                .matches(STRONG)
        );
        assert!(admin_token(dir.path(), Some("short"), here).is_ok());
        for weak in ["short", "given-token", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
            let refused = admin_token(dir.path(), Some(weak), everywhere).unwrap_err().to_string();
            assert!(refused.contains("needs 128") && !refused.contains(weak), "{refused}");
        }
    }

    #[test]
    fn additional_keys_have_their_own_files() {
        let dir = tempfile::tempdir().unwrap();
        let names = [make_key(dir.path()).unwrap(), make_key(dir.path()).unwrap()];
        let keys = [0, 1].map(|index: usize| read_key(dir.path(), &names[index]).unwrap());
        assert_ne!(keys[0], keys[1]);
        let mode = fs::metadata(dir.path().join(&names[0])).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, PRIVATE_FILE);
        for _ in 0..2 {
            delete_key(dir.path(), &names[0]).unwrap();
        }
        refused(read_key(dir.path(), &names[0]), &["restore", &names[0]]);
        for elsewhere in ["../master.key", "/etc/passwd", "a/b.key", "lock"] {
            refused(read_key(dir.path(), elsewhere), &["not the name of a key file"]);
            refused(delete_key(dir.path(), elsewhere), &["not the name of a key file"]);
        }
    }

    #[track_caller]
    fn refused<T>(done: anyhow::Result<T>, expected: &[&str]) {
        let said = done.err().map(|error| format!("{error:#}")).unwrap_or_default();
        for part in expected {
            assert!(said.contains(part), "{said:?} lacks {part:?}");
        }
    }

    #[test]
    fn directory_accessible_to_others_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/data");
        prepare(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, PRIVATE_DIR);
        master_key(&dir).unwrap();
        for open in [0o750, 0o705, 0o701, 0o770] {
            fs::set_permissions(&dir, Permissions::from_mode(open)).unwrap();
            let name = dir.display().to_string();
            refused(
                prepare(&dir),
                &[&name, &format!("mode {open:o}"), &format!("chmod 700 {name}")],
            );
        }
        fs::set_permissions(&dir, Permissions::from_mode(PRIVATE_DIR)).unwrap();
        prepare(&dir).unwrap();
    }

    #[test]
    fn unused_directory_is_made_private() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        prepare(dir.path()).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o777, PRIVATE_DIR);
        // Another user with write access could put a key of their own there.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
        refused(prepare(dir.path()), &["mode 1777", "chmod 700"]);
    }

    #[test]
    fn files_of_another_user_are_refused() {
        // The system's temporary directory belongs to root, unless the tests run as root: then a file is given another owner.
        let dir = tempfile::tempdir().unwrap();
        if geteuid().is_root() {
            std::os::unix::fs::chown(dir.path(), Some(12_345), None).unwrap();
            refused(
                prepare(dir.path()),
                &["belongs to user 12345", "runs as user 0", "chown 0"],
            );
        } else {
            refused(prepare(Path::new("/etc")), &["belongs to user 0", "chown"]);
        }
    }

    #[test]
    fn readable_or_damaged_keys_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let here = Reach::ThisMachine;
        master_key(dir.path()).unwrap();
        admin_token(dir.path(), None, here).unwrap();
        let [key, token] = [MASTER_KEY, ADMIN_TOKEN].map(|name| dir.path().join(name));
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(&token, Permissions::from_mode(0o640)).unwrap();
        refused(
            master_key(dir.path()),
            &["mode 644", &format!("chmod 600 {}", key.display())],
        );
        refused(
            admin_token(dir.path(), None, here),
            &["mode 640", &format!("chmod 600 {}", token.display())],
        );
        for file in [&key, &token] {
            fs::set_permissions(file, Permissions::from_mode(PRIVATE_FILE)).unwrap();
        }
        for damaged in ["", "tla_", "tla_0123456789 0123456789 0123456789 0123456789"] {
            fs::write(&token, damaged).unwrap();
            refused(admin_token(dir.path(), None, here), &["is damaged"]);
        }
        for damaged in ["", "00", "no hexadecimal digits"] {
            fs::write(&key, damaged).unwrap();
            refused(master_key(dir.path()), &["is damaged"]);
        }
    }

    #[test]
    fn databases_of_earlier_versions_are_made_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tables.sqlite-wal");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(PRIVATE_DIR)).unwrap();
        prepare(dir.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, PRIVATE_FILE);
    }
}
