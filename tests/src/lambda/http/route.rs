//! The routing of requests to functions.
//!
//! See [API Gateway Docs/Create routes for HTTP APIs](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html).

use anyhow::{Context as _, Result, bail, ensure};
use hyper::Method;

const DEFAULT: &str = "$default";
const ANY: &str = "ANY";

/// A routes table, the most specific route first.
#[derive(Debug)]
pub(in crate::lambda) struct Routes<T>(Vec<Entry<T>>);

#[derive(Debug)]
struct Entry<T> {
    key: String,
    /// `None` matches every request.
    pattern: Option<Pattern>,
    target: T,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    // Compared first: a better match of the path takes precedence over a better match of the method.
    segments: Vec<Segment>,
    method: MethodPattern,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    Variable(String),
    /// `{name+}`: the rest of the path, at least one segment.
    Greedy(String),
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum MethodPattern {
    One(String),
    Any,
}

/// A route that matches a request.
#[derive(Debug)]
pub(in crate::lambda) struct Match<'a, T> {
    pub(in crate::lambda) key: &'a str,
    pub(in crate::lambda) path_parameters: Vec<(String, String)>,
    pub(in crate::lambda) target: &'a T,
}

impl<T> Routes<T> {
    /// A table of route keys and their targets.
    pub(in crate::lambda) fn new(routes: impl IntoIterator<Item = (String, T)>) -> Result<Self> {
        let mut entries = Vec::new();
        for (key, target) in routes {
            let pattern = if key == DEFAULT { None } else { Some(parse(&key)?) };
            let again = entries.iter().any(|entry: &Entry<T>| entry.key == key);
            ensure!(!again, "route `{key}` is declared twice");
            entries.push(Entry { key, pattern, target });
        }
        // `$default` has no pattern and comes last.
        entries.sort_by(|a, b| match (&a.pattern, &b.pattern) {
            (Some(a), Some(b)) => a.cmp(b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        Ok(Self(entries))
    }

    /// The most specific route for a request. `path` is as sent, percent-encoded.
    pub(in crate::lambda) fn find(&self, method: &Method, path: &str) -> Option<Match<'_, T>> {
        self.0.iter().find_map(|entry| {
            let path_parameters = match &entry.pattern {
                Some(pattern) => pattern.take(method, path)?,
                None => Vec::new(),
            };
            Some(Match {
                key: &entry.key,
                path_parameters,
                target: &entry.target,
            })
        })
    }
}

impl Pattern {
    fn take(&self, method: &Method, path: &str) -> Option<Vec<(String, String)>> {
        if matches!(&self.method, MethodPattern::One(one) if one != method.as_str()) {
            return None;
        }
        let mut rest: Vec<String> = path.strip_prefix('/')?.split('/').map(decode).collect();
        rest.reverse();
        let mut parameters = Vec::new();
        for segment in &self.segments {
            let here = rest.pop()?;
            match segment {
                Segment::Literal(literal) if *literal == here => {}
                Segment::Variable(name) if !here.is_empty() => parameters.push((name.clone(), here)),
                Segment::Greedy(name) => {
                    let all: Vec<_> = std::iter::once(here).chain(rest.drain(..).rev()).collect();
                    let value = all.join("/");
                    if value.is_empty() {
                        return None;
                    }
                    parameters.push((name.clone(), value));
                }
                Segment::Literal(_) | Segment::Variable(_) => return None,
            }
        }
        rest.is_empty().then_some(parameters)
    }
}

/// Percent-decodes a text. Invalid UTF-8 is replaced.
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(hex_byte);
        decoded.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let mut byte = [0];
    hex::decode_to_slice(digits, &mut byte).ok()?;
    Some(byte[0])
}

fn parse(key: &str) -> Result<Pattern> {
    let (method, path) = key
        .split_once(' ')
        .with_context(|| format!("route key `{key}` has no method and path"))?;
    let path = path
        .strip_prefix('/')
        .with_context(|| format!("path of route `{key}` does not start with a slash"))?;
    let segments: Vec<_> = path.split('/').map(segment).collect();
    let greedy = segments
        .iter()
        .position(|segment| matches!(segment, Segment::Greedy(_)));
    if greedy.is_some_and(|at| at + 1 != segments.len()) {
        bail!("greedy variable of route `{key}` is not the last segment");
    }
    let method = if method == ANY {
        MethodPattern::Any
    } else {
        MethodPattern::One(method.to_owned())
    };
    Ok(Pattern { segments, method })
}

fn segment(text: &str) -> Segment {
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(name) => match name.strip_suffix('+') {
            Some(name) => Segment::Greedy(name.to_owned()),
            None => Segment::Variable(name.to_owned()),
        },
        None => Segment::Literal(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, path: &str, key: &str, parameters: &[(&str, &str)]) {
        let keys = [
            "$default",
            "ANY /api/{proxy+}",
            "GET /pets/{proxy+}",
            "ANY /pets/dog/{id}",
            "GET /pets/dog/{id}",
            "GET /pets/dog/1",
            "POST /hooks/{platform}/in/{id}",
            "GET /",
        ];
        let routes = Routes::new(keys.map(|key| (key.to_owned(), ()))).unwrap();
        let found = routes.find(&method.parse().unwrap(), path).unwrap();
        let expected: Vec<_> = parameters
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!((found.key, found.path_parameters), (key, expected));
    }

    #[test]
    fn most_specific_route_wins() {
        check("GET", "/pets/dog/1", "GET /pets/dog/1", &[]);
        check("GET", "/pets/dog/2", "GET /pets/dog/{id}", &[("id", "2")]);
        check("PUT", "/pets/dog/2", "ANY /pets/dog/{id}", &[("id", "2")]);
        check("GET", "/pets/cat/2", "GET /pets/{proxy+}", &[("proxy", "cat/2")]);
        check("POST", "/pets/cat/2", "$default", &[]);
        check("DELETE", "/api/v1/x", "ANY /api/{proxy+}", &[("proxy", "v1/x")]);
        check("GET", "/", "GET /", &[]);
    }

    #[test]
    fn variables_take_one_decoded_segment_that_is_not_empty() {
        check(
            "POST",
            "/hooks/a%20b/in/%E4%BD%A0",
            "POST /hooks/{platform}/in/{id}",
            &[("platform", "a b"), ("id", "你")],
        );
        check("POST", "/hooks//in/1", "$default", &[]);
        check("POST", "/hooks/a/in/1/more", "$default", &[]);
        check("GET", "/api/", "$default", &[]);
        check("GET", "/api", "$default", &[]);
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%4"), "%zz%4");
        assert_eq!(decode("a%2Fb+c"), "a/b+c");
    }

    #[test]
    fn bad_tables_are_refused() {
        for keys in [
            vec!["GET"],
            vec!["GET x"],
            vec!["GET /{a+}/b"],
            vec!["GET /a", "GET /a"],
        ] {
            assert!(
                Routes::new(keys.iter().map(|key| ((*key).to_owned(), ()))).is_err(),
                "{keys:?}"
            );
        }
    }
}
