//! SSRF rules: which addresses given by users and platforms may be called.
//!
//! IP literals are refused here, when they are saved; resolved ones by the HTTP client that calls them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use url::{Host, Url};

/// Which private and otherwise special addresses may be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PrivateEndpoints {
    /// None, and only encrypted.
    #[default]
    Refused,
    /// Those in these networks. Plain `http` and `ws` are allowed for names, and for addresses in them.
    Within(Arc<[IpNet]>),
    /// All, and plain `http` and `ws`.
    Allowed,
}

/// Why a list of networks can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not a network.
    #[error("{0:?} is no network such as 10.0.0.0/8 or fd00::/8, nor an IP address")]
    Unreadable(String),
    /// The address is longer than its prefix.
    #[error("{written} is an address in a network: write {meant} for the whole network")]
    HostBits {
        /// As written.
        written: String,
        /// The network of that address.
        meant: IpNet,
    },
}

impl PrivateEndpoints {
    /// Reads a list of networks in CIDR notation, or of single addresses, separated by commas.
    ///
    /// # Errors
    /// [`NetworkError`] if an item is none.
    pub fn within(list: &str) -> Result<Self, NetworkError> {
        list.split(',')
            .map(|item| network(item.trim()))
            .collect::<Result<_, _>>()
            .map(Self::Within)
    }

    /// Whether this IP address may be called.
    #[must_use]
    pub fn may_call(&self, ip: IpAddr) -> bool {
        !is_special(ip) || self.includes(ip)
    }

    /// Whether unencrypted calls may be made.
    #[must_use]
    pub const fn allows_plain(&self) -> bool {
        !matches!(self, Self::Refused)
    }

    fn includes(&self, ip: IpAddr) -> bool {
        match self {
            Self::Refused => false,
            // IPv6 may carry an IPv4 address.
            Self::Within(networks) => networks.iter().any(|it| it.contains(&ip.to_canonical())),
            Self::Allowed => true,
        }
    }
}

fn network(item: &str) -> Result<IpNet, NetworkError> {
    if let Ok(ip) = item.parse::<IpAddr>() {
        return Ok(ip.into());
    }
    let network: IpNet = item.parse().map_err(|_| NetworkError::Unreadable(item.to_owned()))?;
    let meant = network.trunc();
    if meant != network {
        let written = item.to_owned();
        return Err(NetworkError::HostBits { written, meant });
    }
    Ok(network)
}

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
pub fn check(address: &str, allowed: &PrivateEndpoints) -> Result<Url, AddressError> {
    let url = Url::parse(address).map_err(|_| AddressError::Invalid)?;
    let ip = match url.host() {
        Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
        Some(Host::Domain(name)) => is_local_name(name).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        None => None,
    };
    // Before the scheme: for an unencrypted private address the error must name the real problem, which https wouldn't fix.
    if ip.is_some_and(|ip| !allowed.may_call(ip)) {
        return Err(AddressError::Private);
    }
    // A name is checked when it is resolved.
    let may_be_plain = allowed.allows_plain() && ip.is_none_or(|ip| allowed.includes(ip));
    if !may_use_scheme(&url, may_be_plain) {
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
pub fn may_use_scheme(url: &Url, allow_plain: bool) -> bool {
    match url.scheme() {
        "https" | "wss" => true,
        "http" | "ws" => allow_plain,
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
        assert_eq!(
            check(address, &PrivateEndpoints::Refused).map(|_| ()),
            expected,
            "{address}"
        );
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
        let all = PrivateEndpoints::Allowed;
        assert!(check("http://127.0.0.1:9/", &all).is_ok());
        assert!(check("http://8.8.8.8/", &all).is_ok());
        assert_eq!(check("ftp://127.0.0.1/", &all).err(), Some(AddressError::Scheme));
    }

    #[test]
    fn only_listed_networks_are_allowed() {
        let listed = PrivateEndpoints::within("10.1.0.0/16, fd00:1::/32,192.168.0.7").unwrap();
        let check = |address: &str| check(address, &listed).map(drop);
        for address in [
            "http://10.1.2.3:8080/",
            "ws://[::ffff:10.1.2.3]/",
            "http://[fd00:1::5]/",
            "https://192.168.0.7/",
            "http://agent.internal/",
            "https://8.8.8.8/",
        ] {
            assert_eq!(check(address), Ok(()), "{address}");
        }
        for address in [
            "http://10.2.0.1/",
            "https://192.168.0.8/",
            "http://169.254.169.254/latest",
            "http://[::ffff:169.254.169.254]/",
            "https://[fd00:2::5]/",
            "http://localhost/",
        ] {
            assert_eq!(check(address), Err(AddressError::Private), "{address}");
        }
        assert_eq!(check("http://8.8.8.8/"), Err(AddressError::Scheme));
        assert!(!listed.may_call("10.2.0.1".parse().unwrap()));
        assert!(listed.may_call("10.1.0.1".parse().unwrap()));
    }

    #[test]
    fn mistakes_in_a_list_are_named() {
        let error = |list: &str| PrivateEndpoints::within(list).unwrap_err().to_string();
        assert!(error("10.0.0.0/8,none").contains("\"none\""));
        assert!(error("10.0.0.0/8,").contains("\"\""));
        assert!(error("10.0.0.0/33").contains("10.0.0.0/33"));
        assert!(error("10.1.2.3/8").contains("write 10.0.0.0/8"));
    }
}
