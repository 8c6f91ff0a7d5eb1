//! Registry of all connectors.

use tieline_core::connector::{Connector, Manifest, Proof};

/// All connectors, in alphabetical order.
pub static ALL: &[&dyn Connector] = &[
    &crate::custom::Custom,
    &crate::dingtalk::DingTalk,
    &crate::discord::Discord,
    &crate::lark::Lark,
    &crate::telegram::Telegram,
    &crate::web::Web,
    &crate::wechat::WeChat,
    &crate::wechat_mp::OfficialAccount,
    &crate::wecom::WeCom,
    &crate::wecom_app::WeComApp,
    &crate::weibo::Weibo,
];

/// The connector of `platform`, by its name in the API and in URLs.
#[must_use]
pub fn by_platform(platform: &str) -> Option<&'static dyn Connector> {
    ALL.iter()
        .find(|connector| connector.manifest().platform == platform)
        .copied()
}

/// Manifest of our own channel: the platform whose requests are authenticated by an operator's token.
///
/// # Panics
/// Never: a test checks that there is one.
#[must_use]
pub fn own_channel() -> &'static Manifest {
    let mut manifests = ALL.iter().map(|connector| connector.manifest());
    manifests
        .find(|manifest| manifest.proof == Proof::Operator)
        .expect("one platform is our own channel, checked by a test")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_unique_and_in_alphabetical_order() {
        let names: Vec<_> = ALL.iter().map(|connector| connector.manifest().platform).collect();
        assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
    }

    #[test]
    fn every_platform_is_found_by_its_name() {
        for connector in ALL {
            let platform = connector.manifest().platform;
            assert_eq!(
                by_platform(platform).map(|found| found.manifest().platform),
                Some(platform)
            );
        }
        assert!(by_platform("unknown").is_none());
    }

    #[test]
    fn one_platform_is_our_own_channel() {
        let own = ALL
            .iter()
            .filter(|connector| connector.manifest().proof == Proof::Operator);
        assert_eq!(own.count(), 1);
        assert_eq!(own_channel().proof, Proof::Operator);
    }

    #[test]
    fn steps_and_fields_are_explained_in_both_languages() {
        for mode in ALL.iter().flat_map(|connector| connector.manifest().modes) {
            let helps = mode.credentials.iter().map(|field| field.help);
            for text in helps.chain(mode.setup.iter().copied()) {
                assert!(!text.en.is_empty(), "{text:?}");
                assert!(text.zh.contains(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)), "{text:?}");
            }
        }
    }

    #[test]
    fn each_mode_and_each_field_is_listed_once() {
        for connector in ALL {
            let manifest = connector.manifest();
            assert!(!manifest.modes.is_empty(), "{} has no mode", manifest.platform);
            for mode in manifest.modes {
                let same = manifest.modes.iter().filter(|other| other.mode == mode.mode).count();
                assert_eq!(same, 1, "{} lists {:?} twice", manifest.platform, mode.mode);
                for field in mode.credentials {
                    let same = mode.credentials.iter().filter(|other| other.name == field.name).count();
                    assert_eq!(same, 1, "{} lists {} twice", manifest.platform, field.name);
                }
            }
        }
    }
}
