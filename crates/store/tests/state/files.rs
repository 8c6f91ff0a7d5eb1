//! Files that agents gave.

use tieline_store::file::{self, File};

use crate::tables::{at, fresh};

fn picture(n_bytes: usize) -> File {
    File {
        name: Some("图 1.png".to_owned()),
        mime: "image/png".to_owned(),
        bytes: (0..n_bytes).map(|at| u8::try_from(at % 251).unwrap()).collect(),
    }
}

#[tokio::test]
async fn a_file_of_any_size_can_be_read_until_it_expires() {
    let it = fresh().await;
    for n_bytes in [0, 1, 64 * 1024, 1_000_000] {
        let id = format!("fil_{n_bytes}");
        let File { name, mime, bytes } = picture(n_bytes);
        let label = (name.as_deref(), mime.as_str());
        file::put(&it.store, &id, label, &bytes, at(100)).await.unwrap();
        assert_eq!(file::size(&it.store, &id, at(99)).await.unwrap(), Some(n_bytes));
        assert_eq!(file::size(&it.store, &id, at(101)).await.unwrap(), None);
        assert_eq!(file::get(&it.store, &id, at(99)).await.unwrap(), Some(picture(n_bytes)));
        assert_eq!(file::get(&it.store, &id, at(101)).await.unwrap(), None);
    }
    assert_eq!(file::get(&it.store, "fil_other", at(0)).await.unwrap(), None);
}
