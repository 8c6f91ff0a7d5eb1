//! Shapes and texts of a chat, as SVG.

use std::fmt::Write as _;

use super::Client;
use super::blocks::{Block, Look, Span};

const WIDTH: u32 = 480;
const MARGIN: u32 = 16;
const PADDING: u32 = 12;
const BUBBLE: u32 = WIDTH - 2 * MARGIN - 40;
const LINE: u32 = 20;
const SIZE: u32 = 13;
/// Width of a letter, and of a Chinese character.
const LETTER: u32 = 7;
const WIDE: u32 = 13;

/// Colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    page: &'static str,
    bubble: &'static str,
    own: &'static str,
    text: &'static str,
    faint: &'static str,
    shade: &'static str,
    accent: &'static str,
}

impl Style {
    pub(super) const fn of(client: Client) -> Self {
        let accent = client.accent;
        if client.dark {
            return Self {
                page: "#313338",
                bubble: "#313338",
                own: "#3f4248",
                text: "#dbdee1",
                faint: "#949ba4",
                shade: "#2b2d31",
                accent,
            };
        }
        Self {
            page: "#f2f3f5",
            bubble: "#ffffff",
            own: "#d6e8ff",
            text: "#1f2329",
            faint: "#8f959e",
            shade: "#eceef1",
            accent,
        }
    }
}

/// A picture that grows downwards.
pub(super) struct Canvas {
    style: Style,
    body: String,
    y: u32,
}

impl Canvas {
    pub(super) fn new(style: Style, name: &str) -> Self {
        let mut canvas = Self {
            style,
            body: String::new(),
            y: 0,
        };
        canvas.rect((0, 0), (WIDTH, 40), 0, style.accent);
        canvas.words((MARGIN, 26), &bold(name), "#ffffff");
        canvas.y = 56;
        canvas
    }

    pub(super) fn caption(&mut self, text: &str) {
        let x = (WIDTH - width(text).min(WIDTH)) / 2;
        self.words((x, self.y + 12), &plain(text), self.style.faint);
        self.y += 28;
    }

    pub(super) fn question(&mut self, text: &str) {
        let wide = (width(text) + 2 * PADDING).min(BUBBLE);
        let x = WIDTH - MARGIN - wide;
        self.rect((x, self.y), (wide, LINE + PADDING), 8, self.style.own);
        self.words((x + PADDING, self.y + 20), &plain(text), self.style.text);
        self.y += LINE + PADDING + 12;
    }

    pub(super) fn answer(&mut self, blocks: &[Block], buttons: &[(String, bool)]) {
        let top = self.y;
        // The bubble is below its text, and its height is that of the text.
        let (below, body) = (std::mem::take(&mut self.body), self.style);
        self.y += PADDING;
        for block in blocks {
            self.block(block);
        }
        self.buttons(buttons);
        self.y += PADDING;
        let words = std::mem::replace(&mut self.body, below);
        self.rect((MARGIN, top), (BUBBLE, self.y - top), 8, body.bubble);
        self.body.push_str(&words);
        self.y += 12;
    }

    fn block(&mut self, block: &Block) {
        let left = MARGIN + PADDING;
        let room = BUBBLE - 2 * PADDING;
        match block {
            Block::Line(spans) => {
                for line in wrap(spans, room) {
                    self.words((left, self.y + 14), &line, self.style.text);
                    self.y += LINE;
                }
            }
            Block::Quote(spans) => {
                for line in wrap(spans, room - 12) {
                    self.rect((left, self.y), (3, LINE), 0, self.style.faint);
                    self.words((left + 12, self.y + 14), &line, self.style.faint);
                    self.y += LINE;
                }
            }
            Block::Code(lines) => {
                let high = u32::try_from(lines.len()).unwrap_or_default() * LINE + 8;
                self.rect((left, self.y), (room, high), 4, self.style.shade);
                for (at, line) in (0..).zip(lines) {
                    let span = Span {
                        text: line.clone(),
                        look: Look::Code,
                    };
                    self.words((left + 8, self.y + 18 + at * LINE), &[span], self.style.text);
                }
                self.y += high + 6;
            }
            Block::Table(rows) => self.table(rows, left, room),
        }
    }

    fn table(&mut self, rows: &[Vec<Vec<Span>>], left: u32, room: u32) {
        let n = rows.iter().map(Vec::len).max().unwrap_or(1).max(1);
        let column = room / u32::try_from(n).unwrap_or(1);
        for (at, row) in rows.iter().enumerate() {
            if at == 0 {
                self.rect((left, self.y), (room, LINE + 4), 0, self.style.shade);
            }
            for (place, cell) in (0..).zip(row) {
                self.words((left + 6 + place * column, self.y + 16), cell, self.style.text);
            }
            self.y += LINE + 4;
            self.rect((left, self.y), (room, 1), 0, self.style.shade);
        }
        self.y += 6;
    }

    fn buttons(&mut self, buttons: &[(String, bool)]) {
        if buttons.is_empty() {
            return;
        }
        self.y += 4;
        let mut x = MARGIN + PADDING;
        for (label, opens) in buttons {
            let text = if *opens { format!("{label} ↗") } else { label.clone() };
            let wide = width(&text) + 24;
            let (at, size) = ((x, self.y), (wide, 28));
            let _ = writeln!(
                self.body,
                r#"<rect x="{}" y="{}" width="{}" height="{}" rx="6" fill="none" stroke="{}"/>"#,
                at.0, at.1, size.0, size.1, self.style.accent
            );
            self.words((x + 12, self.y + 19), &plain(&text), self.style.accent);
            x += wide + 8;
        }
        self.y += 32;
    }

    fn rect(&mut self, at: (u32, u32), size: (u32, u32), radius: u32, fill: &str) {
        let ((x, y), (wide, high)) = (at, size);
        let _ = writeln!(
            self.body,
            r#"<rect x="{x}" y="{y}" width="{wide}" height="{high}" rx="{radius}" fill="{fill}"/>"#
        );
    }

    fn words(&mut self, at: (u32, u32), spans: &[Span], fill: &str) {
        let (x, y) = at;
        let _ = write!(
            self.body,
            r#"<text x="{x}" y="{y}" fill="{fill}" xml:space="preserve">"#
        );
        for span in spans {
            let text = escaped(&span.text);
            let look = match span.look {
                Look::Plain => String::new(),
                Look::Bold => r#" font-weight="bold""#.to_owned(),
                Look::Code => r#" font-family="monospace""#.to_owned(),
                Look::Link => format!(r#" fill="{}" text-decoration="underline""#, self.style.accent),
            };
            let _ = write!(self.body, "<tspan{look}>{text}</tspan>");
        }
        self.body.push_str("</text>\n");
    }

    pub(super) fn finish(self) -> String {
        let (high, page) = (self.y + 4, self.style.page);
        let family = "system-ui, 'Noto Sans', 'Noto Sans CJK SC', sans-serif";
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{high}\" viewBox=\"0 0 {WIDTH} {high}\" \
             font-family=\"{family}\" font-size=\"{SIZE}\">\n<rect width=\"{WIDTH}\" height=\"{high}\" fill=\"{page}\"/>\n{}</svg>\n",
            self.body
        )
    }
}

fn plain(text: &str) -> Vec<Span> {
    vec![Span {
        text: text.to_owned(),
        look: Look::Plain,
    }]
}

fn bold(text: &str) -> Vec<Span> {
    vec![Span {
        text: text.to_owned(),
        look: Look::Bold,
    }]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn width_of(c: char) -> u32 {
    if u32::from(c) >= 0x2e80 { WIDE } else { LETTER }
}

fn width(text: &str) -> u32 {
    text.chars().map(width_of).sum()
}

/// Wraps a line at the available width: at a space, or between Chinese characters.
fn wrap(spans: &[Span], room: u32) -> Vec<Vec<Span>> {
    let mut lines = vec![Vec::new()];
    let mut used = 0;
    for span in spans {
        let mut pending = String::new();
        for word in span.text.split_inclusive(|c: char| c == ' ' || u32::from(c) >= 0x2e80) {
            if used + width(word) > room && used > 0 {
                push(&mut lines, &mut pending, span.look);
                lines.push(Vec::new());
                used = 0;
            }
            used += width(word);
            pending.push_str(word);
        }
        push(&mut lines, &mut pending, span.look);
    }
    lines
}

fn push(lines: &mut [Vec<Span>], pending: &mut String, look: Look) {
    let text = std::mem::take(pending);
    if let Some(line) = lines.last_mut().filter(|_| !text.is_empty()) {
        line.push(Span { text, look });
    }
}
