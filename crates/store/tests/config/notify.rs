use tieline_core::ids::{ChatId, IntegrationId};
use tieline_core::notice::Language;
use tieline_core::secret::Secret;
use tieline_store::StoreError;
use tieline_store::config::notify::{self, NotifyChannel, NotifyRecipient};

use crate::tables::{fresh, org};

fn webhook() -> NotifyChannel {
    NotifyChannel::Webhook {
        url: "https://ops.example/hook".to_owned(),
        secret: Secret::new("whsec_cmF3"),
    }
}

fn chat() -> NotifyChannel {
    NotifyChannel::Chat {
        integration: IntegrationId::new("int_1"),
        to: NotifyRecipient::Chat(ChatId::new("ops")),
    }
}

#[tokio::test]
async fn settings_are_replaced_only_in_the_version_that_was_read() {
    let fresh = fresh().await;
    let (store, acme) = (&fresh.store, org("acme"));
    assert!(notify::get(store, &acme).await.unwrap().is_none());
    let first = notify::save(store, None, &acme, webhook(), Language::English)
        .await
        .unwrap();
    let again = notify::save(store, None, &acme, chat(), Language::English).await;
    assert!(matches!(again, Err(StoreError::Conflict)));
    let found = notify::get(store, &acme).await.unwrap().unwrap();
    assert!(matches!(found.channel, NotifyChannel::Webhook { url, secret }
        if url == "https://ops.example/hook" && secret.expose() == "whsec_cmF3"));
    let second = notify::save(store, Some(first.version), &acme, chat(), Language::Chinese)
        .await
        .unwrap();
    assert!(matches!(notify::remove(store, &first).await, Err(StoreError::Conflict)));
    assert_eq!(
        notify::organizations(store, None, 10).await.unwrap().items,
        std::slice::from_ref(&acme)
    );
    notify::remove(store, &second).await.unwrap();
    assert_eq!(notify::organizations(store, None, 10).await.unwrap().items, []);
    assert!(notify::get(store, &acme).await.unwrap().is_none());
}

#[tokio::test]
async fn the_secret_is_not_printed() {
    let fresh = fresh().await;
    let saved = notify::save(&fresh.store, None, &org("acme"), webhook(), Language::English).await;
    assert!(!format!("{saved:?}").contains("cmF3"));
}
