//! Files of an answer as links, for platforms to which files can't be uploaded.

use std::borrow::Cow;

use tieline_core::reply::ReplyFile;

/// Appends the files to `text`, one per line; pictures as pictures. The result begins with exactly `text`.
pub(crate) fn with_files<'a>(text: &'a str, files: &[ReplyFile]) -> Cow<'a, str> {
    if files.is_empty() {
        return text.into();
    }
    let gap = if text.is_empty() { "" } else { "\n\n" };
    let lines: Vec<_> = files.iter().map(line).collect();
    format!("{text}{gap}{}", lines.join("\n")).into()
}

fn line(file: &ReplyFile) -> String {
    let name = file.name.replace(['[', ']', '\n', '\r'], " ");
    let picture = if file.mime.starts_with("image/") { "!" } else { "" };
    format!("{picture}[{name}]({})", address(file))
}

/// URL of `file`, escaped for a link: a bracket or a space would end it.
pub(crate) fn address(file: &ReplyFile) -> String {
    file.url.replace('(', "%28").replace(')', "%29").replace(' ', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_below_the_text() {
        let file = |url: &str, name: &str, mime: &str| ReplyFile {
            url: url.to_owned(),
            name: name.to_owned(),
            mime: mime.to_owned(),
        };
        let files = [
            file("https://e.com/a (1).pdf", "a [1].pdf", "application/pdf"),
            file("https://e.com/b.png", "b.png", "image/png"),
        ];
        let links = "[a  1 .pdf](https://e.com/a%20%281%29.pdf)\n![b.png](https://e.com/b.png)";
        assert_eq!(with_files("Hello ", &files), format!("Hello \n\n{links}"));
        assert_eq!(with_files("", &files), links);
        assert_eq!(with_files("Hello", &[]), "Hello");
    }
}
