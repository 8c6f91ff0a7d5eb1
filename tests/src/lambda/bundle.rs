//! The size of what a deployment uploads.

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// Local file header, central directory header and end record of a zip with one entry, without the entry's name.
const ZIP_HEADERS: u64 = 30 + 46 + 22;
const ENTRY_NAME: &str = "bootstrap";

/// Size in bytes of the zip that deploys `binary` as `bootstrap`.
///
/// # Errors
/// The file can't be read.
pub fn bundle_size(binary: &Path) -> std::io::Result<u64> {
    let content = std::fs::read(binary)?;
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::default());
    deflated.write_all(&content)?;
    let deflated = deflated.finish()?.len() as u64;
    // The name is in both headers.
    Ok(deflated + ZIP_HEADERS + 2 * ENTRY_NAME.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitive_content_shrinks_and_headers_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bootstrap");
        std::fs::write(&file, []).unwrap();
        // An empty deflate stream has two bytes.
        assert_eq!(bundle_size(&file).unwrap(), 116 + 2);
        std::fs::write(&file, vec![7_u8; 1_000_000]).unwrap();
        assert!((200..3_000).contains(&bundle_size(&file).unwrap()));
    }
}
