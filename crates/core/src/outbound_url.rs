//! SSRF rules: which addresses given by users and platforms may be called.
//!
//! IP literals are refused here, when they are saved; resolved ones by the HTTP client that calls them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Why an address may not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is not a valid URL.
    #[error("not a valid address")]
    Invalid,
    /// Neither HTTPS nor WSS.
    #[error("only https and wss addresses are allowed")]
    Scheme,
    /// It contains a user name or password.
    #[error("an address may not carry a user name or password")]
    UserInfo,
    /// A private, loopback or otherwise special address.
    #[error("private addresses are not allowed")]
    Private,
}

/// Checks an address as written. A host name is checked again when it is resolved.
///
/// # Errors
/// [`AddressError`] if it may not be called.
pub fn check(address: &str, allow_private: bool) -> Result<Url, AddressError> {
    let url = Url::parse(address).map_err(|_| AddressError::Invalid)?;
    let private = match url.host() {
        Some(Host::Ipv4(ip)) => is_special(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => is_special(IpAddr::V6(ip)),
        Some(Host::Domain(name)) => is_local_name(name),
        None => false,
    };
    // Before the scheme: for an unencrypted private address the error must name the real problem, which https wouldn't fix.
    if private && !allow_private {
        return Err(AddressError::Private);
    }
    if !may_use_scheme(&url, allow_private) {
        return Err(AddressError::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AddressError::UserInfo);
    }
    if !url.has_host() {
        return Err(AddressError::Invalid);
    }
    Ok(url)
}

/// Whether an address is encrypted, or need not be.
#[must_use]
pub fn may_use_scheme(url: &Url, allow_private: bool) -> bool {
    match url.scheme() {
        "https" | "wss" => true,
        "http" | "ws" => allow_private,
        _ => false,
    }
}

/// Scheme, host and port of an address. Text that is no address is an origin of its own.
#[must_use]
pub fn origin(address: &str) -> String {
    let Ok(url) = Url::parse(address.trim()) else {
        return address.to_owned();
    };
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default());
    format!("{}://{host}:{}", url.scheme(), port.unwrap_or_default())
}

fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

/// Whether an IP address is not a plain public one: private, loopback, link-local, multicast, documentation, reserved,
/// or an IPv6 form that embeds such an IPv4 address.
///
/// See IANA IPv4 and IPv6 Special-Purpose Address Registries.
#[must_use]
pub fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_special_v4(ip),
        IpAddr::V6(ip) => is_special_v6(ip),
    }
}

fn is_special_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

fn is_special_v6(ip: Ipv6Addr) -> bool {
    let parts = ip.segments();
    let tail = Ipv4Addr::from((u32::from(parts[6]) << 16) | u32::from(parts[7]));
    match parts {
        // Unspecified, loopback, IPv4-compatible and IPv4-mapped.
        [0, 0, 0, 0, 0, 0, _, _] => true,
        [0, 0, 0, 0, 0, 0xffff, _, _] => is_special_v4(tail),
        // NAT64: checks the embedded IPv4 address.
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => is_special_v4(tail),
        [0x64, 0xff9b, 1, ..] => true,
        [0x100, 0, 0, 0, ..] => true,
        // 6to4 embeds an IPv4 address at the front.
        [0x2002, high, low, ..] => is_special_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        [0x2001, 0 | 0xdb8, ..] => true,
        // Only 2000::/3 is global unicast.
        [first, ..] => first & 0xe000 != 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_one(address: &str, expected: Result<(), AddressError>) {
        assert_eq!(check(address, false).map(|_| ()), expected, "{address}");
    }

    #[test]
    fn public_https_is_allowed() {
        check_one("https://example.com/x", Ok(()));
        check_one("wss://openws.work.weixin.qq.com", Ok(()));
        check_one("https://8.8.8.8/", Ok(()));
        check_one("https://[2606:4700::1111]/", Ok(()));
    }

    #[test]
    fn every_spelling_of_a_private_address_is_refused() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0",
            "10.0.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[::127.0.0.1]",
            "localhost",
            "LOCALHOST.",
            "x.localhost",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            check_one(&format!("https://{host}/"), Err(AddressError::Private));
        }
    }

    #[test]
    fn plain_http_and_passwords_are_refused() {
        check_one("http://example.com/", Err(AddressError::Scheme));
        check_one("http://169.254.169.254/latest", Err(AddressError::Private));
        check_one("file:///etc/passwd", Err(AddressError::Scheme));
        check_one("https://user@example.com/", Err(AddressError::UserInfo));
        check_one("https://", Err(AddressError::Invalid));
    }

    #[test]
    fn everything_but_other_schemes_is_allowed_for_tests() {
        assert!(check("http://127.0.0.1:9/", true).is_ok());
        assert_eq!(check("ftp://127.0.0.1/", true).err(), Some(AddressError::Scheme));
    }
}
